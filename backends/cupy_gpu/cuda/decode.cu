// One token of some rows of matrix memories: the memory is written and read, gates are found,
// checkpoints are read, and a segment that ends leaves its checkpoint.
//
//   y = g S^T q + sum_i g_i M_i^T q
//
// Nothing is allocated and nothing asked of the host, so the four launches can be captured.
#include "decode_finish.cuh"
#include "decode_laws.cuh"
#include "decode_offset.cuh"
#include "decode_read.cuh"
#include "decode_route.cuh"

// The online memory after the token, its answer, and the gates. A block does one head of one row.
extern "C" __global__ void __launch_bounds__(THREADS)
    decode_token(const Real* q, const Real* k, const Real* v, const Real* u,
                 const Real* temperature, const Real* decay, const Real* decays, const Real* beta,
                 const Real* more, const Real* removal, const Real* strengths,
                 const Real* gate_online, const Real* gate_bias, const int* fed, Real* all_online,
                 Real* key_sums, const Real* contexts, const Books* all_books, Real* weights,
                 int* chosen, Real* answers, Real* shares, Real* logits, Real* offsets,
                 int plan_bits, int heads, int keys, int rows, int width, int values, int slots,
                 int top_k, Real scale, Real rate) {
  Plan plan{plan_bits};
  Place place(fed, heads);
  Books books = all_books[place.row];
  MC_ARENA(arena);
  Real* scratch = arena.take<Real>(PARTS * LANES + THREADS);
  Real* whole = arena.take<Real>(LANES);
  Sides sides{arena.take<Real>(keys), arena.take<Real>(keys), arena.take<Real>(keys),
              arena.take<Real>(keys), arena.take<Real>(keys)};
  Best* best = arena.take<Best>(THREADS / 32);
  Written x{q, k, v, decay, decays, beta, more, removal, strengths};
  bool fresh = books.length == 0 && (books.position == 0 || !plan.carries());
  Online online{all_online + place.at * rows * width, keys, values, width, fresh};
  Strength strength(x, plan, place, online);
  fill_sides(sides, x, plan, place, online, strength);
  Right right(sides, x, plan, place, online, scratch);
  Real answer = write_memory(sides, right, plan, online, scratch);
  write_last_row(x, plan, place, online, strength.largest);

  int lane = threadIdx.x % LANES;
  if (threadIdx.x < LANES) whole[lane] = answer;
  __syncthreads();
  if (plan.division() != UNDIVIDED) answer *= divided(plan, whole[values], strength.largest);
  if (threadIdx.x < values) answers[(long long)place.entry * values + lane] = answer;
  if (plan.weights() == ANSWERED)
    find_offsets(AnswerGates{gate_online, gate_bias, offsets}, answer, place, values, whole, scratch);
  Routing to{u,      temperature, contexts, key_sums, weights, shares, logits,
             chosen, keys,        slots,    top_k,    scale,   rate};
  if (slots) find_gates(to, plan, place, books, sides.key, sides.query, scratch, best);
}
