// The AVX-512 VPOPCNTDQ unit (vpopcntq): Ice Lake, Zen 4 and later.
#include "kernels/avx512/popcnt.hpp"
#include "kernels/table.hpp"

namespace vsearch {

void install_avx512popcnt(KernelTable& table) { avx512::install_popcnt(table); }

}  // namespace vsearch
