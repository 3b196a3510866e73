#include "tests/support/counting.hpp"

#include "tests/support/sanitized.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace sluice::test {

thread_local std::uint64_t allocations = 0;
thread_local std::uint64_t mutexes = 0;
thread_local std::uint64_t fail_in = 0;

namespace {

void* counted(std::size_t bytes) {
  ++allocations;
  if (fail_in != 0 && --fail_in == 0) throw std::bad_alloc{};
  void* memory = std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace
}  // namespace sluice::test

void* operator new(std::size_t bytes) { return sluice::test::counted(bytes); }
void* operator new[](std::size_t bytes) { return sluice::test::counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

#ifndef SLUICE_TEST_SANITIZED
extern "C" int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  using Lock = int (*)(pthread_mutex_t*);
  static const Lock real = reinterpret_cast<Lock>(::dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  ++sluice::test::mutexes;
  return real(mutex);
}
#endif
