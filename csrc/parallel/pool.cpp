#include "parallel/pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

namespace mmgrec {
namespace {

// One loop under way. It lives on the caller's stack: `parallel_for` leaves only when every worker
// that saw it has left it, so that nothing may be thrown before.
struct Loop {
  size_t count;
  LoopBody body;
  void* context;
  std::atomic<size_t> next{0};
  std::once_flag failed{};
  std::exception_ptr failure{};

  void run() noexcept {
    try {
      for (size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(context, i);
    } catch (...) {
      next = count;
      std::call_once(failed, [this] { failure = std::current_exception(); });
    }
  }
};

// How long a thread that has nothing to do looks out for more before it sleeps. To be woken takes
// the system about as long, which is as long as a short loop.
constexpr std::chrono::microseconds kLookOut{50};

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits for it to happen, but no longer than kLookOut.
template <class Happened>
void look_out(Happened happened) {
  constexpr int kPauses = 16;  // between two looks at the clock
  const auto end = std::chrono::steady_clock::now() + kLookOut;
  do {
    for (int i = 0; i < kPauses; ++i) {
      if (happened()) return;
      pause_briefly();
    }
  } while (std::chrono::steady_clock::now() < end);
}

class Pool {
 public:
  void run(Loop& loop, unsigned threads) {
    const unsigned helpers = threads - 1;
    unsigned asleep = 0;  // helpers that have to be woken
    {
      std::lock_guard lock(mutex_);
      while (workers_ < helpers && start_worker()) {
      }
      loop_ = &loop;
      wanted_ = helpers;
      ++generation_;
      asleep = helpers - std::min(helpers, looking_out_);
    }
    for (; asleep > 0; --asleep) wake_.notify_one();
    loop.run();
    {
      // A worker that has not come by now finds nothing left to do; none may begin any more.
      std::lock_guard lock(mutex_);
      wanted_ = 0;
      loop_ = nullptr;
    }
    const auto all_left = [&] { return busy_ == 0; };
    look_out(all_left);
    std::unique_lock lock(mutex_);
    idle_.wait(lock, all_left);
  }

 private:
  // False where the system gives no more threads: the loop then runs on those there are.
  bool start_worker() {
    try {
      std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      return false;
    }
    ++workers_;
    return true;
  }

  void work() {
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return wanted_ > 0 && generation_ != seen; });
      seen = generation_;
      --wanted_;
      ++busy_;
      Loop* loop = loop_;
      lock.unlock();
      loop->run();
      lock.lock();
      if (--busy_ == 0) idle_.notify_all();
      ++looking_out_;
      lock.unlock();
      look_out([&] { return generation_ != seen; });
      lock.lock();
      --looking_out_;
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  Loop* loop_ = nullptr;
  unsigned workers_ = 0;
  unsigned wanted_ = 0;       // workers that may still join the loop
  unsigned looking_out_ = 0;  // workers that will see the next loop without being woken
  // Written with the lock held; read without it by those who look out.
  std::atomic<unsigned> busy_ = 0;  // workers inside the loop
  std::atomic<uint64_t> generation_ = 0;
};

// Never destroyed: detached workers wait on it until the process ends.
Pool* pool = nullptr;
std::atomic_flag pool_taken = ATOMIC_FLAG_INIT;

// The parent's workers do not exist in the child, and its locks may be held by them.
void forget_pool() {
  pool = nullptr;
  pool_taken.clear();
}

// Held by one caller at a time; the others go on without helpers.
class PoolLease {
 public:
  explicit PoolLease(bool wanted)
      : held_(wanted && !pool_taken.test_and_set(std::memory_order_acquire)) {
    if (!held_ || pool != nullptr) return;
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
    pool = new Pool;
  }
  ~PoolLease() {
    if (held_) pool_taken.clear(std::memory_order_release);
  }
  PoolLease(const PoolLease&) = delete;
  PoolLease& operator=(const PoolLease&) = delete;
  explicit operator bool() const { return held_; }

 private:
  bool held_;
};

constexpr std::align_val_t kAlignment{64};

struct Scratch {
  float* data = nullptr;
  size_t floats = 0;
  ~Scratch() { ::operator delete[](data, kAlignment); }
};

}  // namespace

void parallel_for(size_t count, unsigned threads, LoopBody body, void* context) {
  Loop loop{count, body, context};
  if (threads > count) threads = static_cast<unsigned>(count);
  const PoolLease lease(threads > 1);
  if (lease) {
    pool->run(loop, threads);
  } else {
    loop.run();
  }
  if (loop.failure) std::rethrow_exception(loop.failure);
}

float* thread_scratch(size_t floats) {
  thread_local Scratch scratch;
  if (scratch.floats < floats) {
    ::operator delete[](scratch.data, kAlignment);
    scratch.data = nullptr;
    scratch.floats = 0;
    scratch.data = static_cast<float*>(::operator new[](floats * sizeof(float), kAlignment));
    scratch.floats = floats;
  }
  return scratch.data;
}

}  // namespace mmgrec
