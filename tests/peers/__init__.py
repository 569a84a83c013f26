"""mcore beside public implementations of the same rules: y and gradients, where both are there.

    pip install -e ".[peers]"
    python -m pytest tests/peers

The peers are large (torch alone takes 200 MB), so that these tests are skipped where they are not
installed, each with the name of what is missing.

    meeting      installed or skip; an array through both sides, y and gradients compared
    test_sums    linear attention, retention, simple GLA (Mamba-2's SSD), GLA
    test_deltas  delta rule, gated delta rule, RWKV-7 as diagonal plus low rank
    test_xlstm   mLSTM and sLSTM of the authors of xLSTM
    test_vectors torch's LSTM and GRU
    test_titans  titans-pytorch's neural memory
    test_attention torch's attention

`swla`, `dla`, `yaad`, `moneta`, `memora` have no public implementation of the same function that
runs on a CPU; the oracle in tests/oracle is their second opinion.
"""
