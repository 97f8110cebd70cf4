// A device: one serial thread that binds and runs plans, a pool of CPU threads, and everything they allocate.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "resource.h"
#include "thread_pool.h"
#include "weights.h"

namespace latent_edge {

struct Job {
  virtual ~Job() = default;
  virtual void run() = 0;  // on the device's thread; must not throw
};

class Device {
 public:
  using Deliver = std::function<void(std::unique_ptr<Job>)>;

  // `deliver` takes each job that has run, on the device's thread.
  Device(DeviceInfo info, OpenOptions options, Deliver deliver);
  ~Device() { stop(); }

  // Jobs run in the order of the calls.
  void post(std::unique_ptr<Job> job);

  // Ends the thread: the job that runs is left to finish, a program's run at its next op; those that wait are
  // forgotten. Idempotent.
  void stop();

  // The following are for jobs. Once the device is lost, those that need it throw DeviceLost.

  // The first job. Throws std::runtime_error saying why the device cannot be used.
  void open();
  // `base`: nullptr, or what the sources and deltas come on top of. `under`: weights by the prefix of their
  // names.
  std::shared_ptr<Weights> load(std::vector<WeightSource> sources, const Weights* base,
                                const std::map<std::string, std::shared_ptr<Weights>>& under,
                                std::vector<WeightDelta> deltas);
  // `dtype`: to compute in; none: the device's.
  std::shared_ptr<Program> compile(PlanDesc plan, const Weights& weights, std::optional<Element> dtype);
  void run(Program& program, RunRequest& request);
  // Who computes each product that there was a choice for, by its shape.
  std::map<std::string, std::string> choices() const { return backend_->choices(); }
  // Releases whatever is still alive.
  void release_all();

  const DeviceInfo info;
  const std::shared_ptr<Account> account = std::make_shared<Account>();

 private:
  void loop();
  // What work() returns. Remembers that the device is lost.
  template <class Work>
  auto use(Work work);
  void track(std::weak_ptr<Resource> resource);

  const OpenOptions options_;
  const Deliver deliver_;
  SpinningThreadPool pool_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::weak_ptr<Resource>> resources_;
  int64_t runs_ = 0;
  std::string lost_;  // why; empty: it is not

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace latent_edge
