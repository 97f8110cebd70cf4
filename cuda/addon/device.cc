#include "device.h"

#include <chrono>
#include <string_view>

#include "error.h"
#include "topology.h"

namespace latent_edge {

Device::Device(DeviceInfo info, OpenOptions options, Deliver deliver)
    : info(std::move(info)),
      options_(std::move(options)),
      deliver_(std::move(deliver)),
      pool_(this->info.threads > 0 ? this->info.threads : usable_cores()) {
  thread_ = std::thread([this] { loop(); });
}

void Device::post(std::unique_ptr<Job> job) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Device::stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  queue_.clear();
}

void Device::loop() {
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (stop_) break;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    job->run();
    deliver_(std::move(job));
  }
  // What a GPU's driver made goes on the thread that it was made on.
  release_all();
  backend_.reset();
}

void Device::open() {
  backend_ = open_backend(info, options_, account, pool_);
}

template <class Work>
auto Device::use(Work work) {
  if (!lost_.empty()) throw DeviceLost(lost_);
  try {
    return work();
  } catch (const CodedError& e) {
    if (std::string_view(e.code()) == DeviceLost::kCode) lost_ = e.what();
    throw;
  }
}

std::shared_ptr<Weights> Device::load(std::vector<WeightSource> sources, const Weights* base,
                                      const std::map<std::string, std::shared_ptr<Weights>>& under,
                                      std::vector<WeightDelta> deltas) {
  if (!lost_.empty()) throw DeviceLost(lost_);
  Prefixed parts;
  for (const auto& [prefix, part] : under) parts[prefix] = part->checkpoint();
  auto weights = std::make_shared<Weights>(
      std::make_shared<Checkpoint>(std::move(sources), base ? base->checkpoint() : nullptr, std::move(parts),
                                   std::move(deltas), account, pool_));
  track(weights);
  return weights;
}

std::shared_ptr<Program> Device::compile(PlanDesc plan, const Weights& weights,
                                         std::optional<Element> dtype) {
  struct DropStaging {
    Checkpoint& checkpoint;
    ~DropStaging() { checkpoint.drop_staging(); }
  } drop{*weights.checkpoint()};
  CompileOptions options = options_.compile;
  options.dtype = dtype.value_or(info.dtype);
  auto program = use([&] { return backend_->compile(std::move(plan), drop.checkpoint, options); });
  track(program);
  return program;
}

void Device::run(Program& program, RunRequest& request) {
  use([&] {
    const int64_t run = runs_++;
    if (options_.hang_after >= 0 && run >= options_.hang_after)
      while (!stop_) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (options_.lose_after >= 0 && run >= options_.lose_after)
      throw DeviceLost("lost after " + std::to_string(options_.lose_after) + " runs, as it was told to be");
    program.run(request, stop_);
  });
  for (const ProgramOutput& output : request.outputs)
    if (output.tensor) track(output.tensor);
}

void Device::release_all() {
  for (const auto& weak : resources_)
    if (const std::shared_ptr<Resource> resource = weak.lock()) resource->release();
  resources_.clear();
}

void Device::track(std::weak_ptr<Resource> resource) {
  // Forgets the dead when the list would grow, so that it stays as long as twice what lives.
  if (resources_.size() == resources_.capacity())
    std::erase_if(resources_, [](const std::weak_ptr<Resource>& r) { return r.expired(); });
  resources_.push_back(std::move(resource));
}

}  // namespace latent_edge
