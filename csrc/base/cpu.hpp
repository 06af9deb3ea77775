// What this CPU and its operating system offer, one bit at a time.
//
// AVX-512 is not one thing: Zen 4 has VNNI, VPOPCNTDQ, VBMI and BF16 without FP16, Skylake-X has none of them. So each
// bit is read on its own (CPUID leaf 7) and counts only when the OS saves the registers (XGETBV).
#pragma once

namespace vsearch {

struct CpuFeatures {
    bool avx2 = false;             // with FMA, F16C, BMI, BMI2, POPCNT
    bool avx512 = false;           // F, BW, DQ, VL together
    bool avx512_vnni = false;      // vpdpbusd, vpdpwssd
    bool avx512_vpopcntdq = false; // vpopcntq
    bool avx512_vbmi = false;      // vpermb, vpmultishiftqb
    bool avx512_bf16 = false;      // vdpbf16ps
    bool neon = false;
    bool neon_dotprod = false;
};

// Detected once, at first call.
const CpuFeatures& cpu_features();

}  // namespace vsearch
