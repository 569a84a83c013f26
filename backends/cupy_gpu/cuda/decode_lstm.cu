// One token of LSTM memories: the kernels are those of all vector memories.
#include "lstm_cell.cuh"

#include "decode_vector.cuh"
