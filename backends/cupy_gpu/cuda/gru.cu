// GRU: the kernels are those of all vector memories.
#include "gru_cell.cuh"

#include "vector_scan.cuh"
#include "vector_scan_backward.cuh"
#include "vector_step.cuh"
