// The AVX-512 units as candidates, compiled through SIMDe: their results on a machine that lacks the instructions.
//
// Each extension lies over the plain unit alone, so that no kernel hides behind another unit's.
#include "kernels/tables.hpp"

namespace vsearch::test {
namespace {

Candidate unit(const char* name, void (*install)(KernelTable&)) {
    Candidate candidate{name, reference()};
    install_avx512(candidate.table);
    install(candidate.table);
    return candidate;
}

}  // namespace

const std::vector<Candidate>& candidates() {
    static const std::vector<Candidate> all = {
        unit("avx512", install_avx512),
        unit("avx512vnni", install_avx512vnni),
        unit("avx512popcnt", install_avx512popcnt),
        unit("avx512bf16", install_avx512bf16),
    };
    return all;
}

}  // namespace vsearch::test
