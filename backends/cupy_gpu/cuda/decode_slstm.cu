// One token of sLSTM memories: the kernels are those of all vector memories.
#include "slstm_cell.cuh"

#include "decode_vector.cuh"
