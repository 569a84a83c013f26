// One token of some rows of matrix memories: the memory is written and read, checkpoints are read,
// and a segment that ends leaves its checkpoint.
//
//   y = g S^T q + sum_i g_i M_i^T q
//
// Nothing is allocated and nothing asked of the host, so the three launches can be captured.
#include "decode_finish.cuh"
#include "decode_laws.cuh"
#include "decode_logits.cuh"
#include "decode_offset.cuh"
#include "decode_read.cuh"

// The online memory after the token and its answer, by the first block of a head of a row; by the
// others, if there are any, logits of its checkpoints.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    decode_token(const Real* q, const Real* k, const Real* v, const Real* u,
                 const Real* temperature, const Real* decay, const Real* decays, const Real* beta,
                 const Real* more, const Real* removal, const Real* strengths,
                 const Real* gate_online, const Real* gate_bias, const int* fed, Real* all_online,
                 Real* key_sums, const Real* contexts, const Books* all_books, Real* logits,
                 Real* own_logits, Real* answers, Real* offsets, int plan_bits, int heads, int keys,
                 int rows, int width, int values, int slots, Real scale) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.at];
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES);
  Real* whole = arena.take<Real>(LANES);
  Sides sides{arena.take<Real>(keys), arena.take<Real>(keys), arena.take<Real>(keys),
              arena.take<Real>(keys), arena.take<Real>(keys)};
  Routing to{u, temperature, contexts, key_sums, own_logits, logits, keys, slots, scale};
  if (blockIdx.y > 0) {
    checkpoint_logits(to, place, books, blockIdx.y - 1, gridDim.y - 1, sides.query);
    return;
  }
  Written x{q, k, v, decay, decays, beta, more, removal, strengths};
  bool fresh = books.length == 0 && (books.position == 0 || !plan.carries());
  Online online{all_online + place.at * rows * width, keys, values, width, fresh};
  Strength strength(x, plan, place, online);
  fill_sides(sides, x, plan, place, online, strength);
  Right column(sides, x, plan, place, online, scratch);
  Real answer = write_memory(sides, column, plan, online, scratch);
  write_last_row(x, plan, place, online, strength.largest);

  int lane = threadIdx.x % LANES;
  if (plan.division() != UNDIVIDED) {
    if (threadIdx.x < LANES) whole[lane] = answer;
    __syncthreads();
    answer *= divided(plan, whole[values], strength.largest);
  }
  if (threadIdx.x < values) answers[(long long)place.entry * values + lane] = answer;
  if (plan.weights() == ANSWERED)
    find_offsets({gate_online, gate_bias, offsets}, answer, place, values, whole, scratch);
  if (slots && plan.weights() == ROUTED) online_logit(to, plan, place, books, sides.key, scratch);
}
