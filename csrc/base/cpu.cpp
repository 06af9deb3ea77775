#include "base/cpu.hpp"

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#define VSEARCH_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace vsearch {
namespace {

#if defined(VSEARCH_X86)

struct Registers {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
    Registers r;
#if defined(_MSC_VER)
    int out[4];
    __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
    r.eax = out[0], r.ebx = out[1], r.ecx = out[2], r.edx = out[3];
#else
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#endif
    return r;
}

std::uint64_t xgetbv0() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}

bool bit(std::uint32_t value, int index) { return (value >> index) & 1u; }

CpuFeatures detect() {
    CpuFeatures f;
    if (cpuid(0, 0).eax < 7) return f;
    const Registers leaf1 = cpuid(1, 0);
    const bool os_saves = bit(leaf1.ecx, 27);
    if (!os_saves) return f;
    const std::uint64_t saved = xgetbv0();
    const bool ymm_saved = (saved & 0x6) == 0x6;     // SSE and AVX state
    const bool zmm_saved = (saved & 0xe6) == 0xe6;   // and opmask, upper zmm, zmm16-31
    const Registers leaf7 = cpuid(7, 0);
    const Registers leaf7_1 = leaf7.eax >= 1 ? cpuid(7, 1) : Registers{};
    f.avx2 = ymm_saved && bit(leaf7.ebx, 5) && bit(leaf7.ebx, 3) && bit(leaf7.ebx, 8) && bit(leaf1.ecx, 12) &&
             bit(leaf1.ecx, 29) && bit(leaf1.ecx, 23);
    f.avx512 = f.avx2 && zmm_saved && bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) && bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
    f.avx512_vnni = f.avx512 && bit(leaf7.ecx, 11);
    f.avx512_vpopcntdq = f.avx512 && bit(leaf7.ecx, 14);
    f.avx512_vbmi = f.avx512 && bit(leaf7.ecx, 1);
    f.avx512_bf16 = f.avx512 && bit(leaf7_1.eax, 5);
    return f;
}

#elif defined(__aarch64__)

CpuFeatures detect() {
    CpuFeatures f;
    f.neon = true;
#if defined(__linux__)
    constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
    f.neon_dotprod = (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0;
#elif defined(__APPLE__)
    int value = 0;
    std::size_t size = sizeof(value);
    f.neon_dotprod = sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value != 0;
#endif
    return f;
}

#else

CpuFeatures detect() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() {
    static const CpuFeatures features = detect();
    return features;
}

}  // namespace vsearch
