// sLSTM: the kernels are those of all vector memories.
#include "slstm_cell.cuh"

#include "vector_scan.cuh"
#include "vector_scan_backward.cuh"
#include "vector_step.cuh"
