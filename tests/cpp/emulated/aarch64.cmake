# Builds the C++ tests for ARM and runs them under qemu, on an x86 machine that has both:
#
#   apt install g++-aarch64-linux-gnu qemu-user
#   cmake -S csrc -B build/arm -G Ninja -DCMAKE_TOOLCHAIN_FILE=../tests/cpp/emulated/aarch64.cmake \
#         -DVSEARCH_BUILD_PYTHON=OFF -DVSEARCH_BUILD_TESTS=ON
#   cmake --build build/arm && ctest --test-dir build/arm --output-on-failure
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-cpu;max)
