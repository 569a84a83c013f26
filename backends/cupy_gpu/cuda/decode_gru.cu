// One token of GRU memories: the kernels are those of all vector memories.
#include "gru_cell.cuh"

#include "decode_vector.cuh"
