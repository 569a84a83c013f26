"""Hypothesis strategies for right specs, as plain mappings."""

from typing import Any

from hypothesis import strategies as st

Plain = dict[str, Any]

_positive = st.floats(1e-12, 1e12, allow_subnormal=False)
_fraction = st.floats(0, 1)

recurrences: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["linear", "retention", "gated_linear", "delta", "gated_delta"]),
    st.sampled_from(["gla", "swla", "rwkv7", "mlstm"]),
    st.sampled_from(["lstm", "gru", "slstm"]),
    st.fixed_dictionaries(
        {"kind": st.just("linear")},
        optional={
            "feature_map": st.sampled_from(["identity", "elu1"]),
            "normalize": st.booleans(),
        },
    ),
)

readouts: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["none", "residual", "grm", "soup", "ssc", "moving_average"]),
    st.fixed_dictionaries({"kind": st.just("ssc")}, optional={"top_k": st.integers(1, 99)}),
    st.fixed_dictionaries(
        {"kind": st.just("moving_average"), "weights": st.just("ema")},
        optional={"rate": st.floats(1e-6, 1)},
    ),
)

segmentations: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["constant", "logarithmic"]),
    st.builds(dict, kind=st.just("constant"), length=st.integers(1, 999)),
    st.fixed_dictionaries(
        {"kind": st.just("adaptive")},
        optional={
            "threshold": _fraction,
            "min": st.integers(1, 16),
            "max": st.integers(16, 999),
        },
    ),
    st.sampled_from([[256], [1, 255], [[128, 128], [256]]]).map(
        lambda lengths: {"kind": "given", "lengths": lengths}
    ),
)

caches: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "limit": st.none() | st.integers(1, 999),
        "evict": st.sampled_from(["oldest", "merge"]),
        "dtype": st.none() | st.sampled_from(["float32", "float16", "bfloat16", "int8"]),
    },
)

memories: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"segmentation": segmentations},
    optional={
        "recurrence": recurrences,
        "readout": readouts,
        "start": st.sampled_from(["independent", "checkpoint"]),
        "cache": caches,
    },
)

blocks: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["memory", "attention", "parallel"]),
    st.builds(dict, mixer=st.just("parallel"), window=st.integers(1, 99)),
    st.builds(dict, memory=st.fixed_dictionaries({}, optional={"readout": readouts})),
)

models: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "width": st.sampled_from([8, 64, 4096]),
            "mlp": st.floats(0, 8),
            "conv": st.integers(0, 8),
            "tied": st.booleans(),
            "key": st.none() | st.integers(1, 64),
        },
    ),
    st.lists(blocks, min_size=1, max_size=4).map(lambda b: {"depth": len(b), "blocks": b}),
)

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)

data: st.SearchStrategy[Any] = st.one_of(
    st.just("mqar"),
    st.fixed_dictionaries(
        {"task": st.just("mqar")},
        optional={"pairs": st.integers(1, 64), "gap_power": _positive},
    ),
    st.builds(dict, task=st.just("text"), paths=st.lists(names, min_size=1, max_size=3)),
    st.lists(names.filter(bool), min_size=2, max_size=4, unique=True).flatmap(
        lambda columns: st.fixed_dictionaries(
            {
                "task": st.just("series"),
                "columns": st.just(columns),
                "target": st.just(columns[:1]),
            },
            optional={"horizon": st.integers(1, 9), "loss": st.sampled_from(["mae", "huber"])},
        )
    ),
)

optimizers = st.fixed_dictionaries(
    {}, optional={"lr": _positive, "eps": _positive, "weight_decay": _fraction}
)

trains = st.fixed_dictionaries(
    {"batch": st.just(2)},
    optional={
        "steps": st.integers(100, 10**9),
        "optimizer": optimizers,
        "warmup": _fraction | st.integers(0, 100),
        "seed": st.integers(0, 2**63 - 1),
    },
)

specs: st.SearchStrategy[Plain] = st.fixed_dictionaries(
    {"train": trains, "memory": memories},
    optional={
        "model": models,
        "data": data,
        "backend": names | st.builds(dict, kind=names, threads=st.integers(1, 64)),
        "dtype": st.sampled_from(["float32", "float64"]),
        "compare": st.dictionaries(
            st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_+-]{0,9}", fullmatch=True),
            st.fixed_dictionaries({}, optional={"memory.start": st.just("checkpoint")}),
            max_size=3,
        ),
    },
)
