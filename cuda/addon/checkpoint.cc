#include "checkpoint.h"

#include <algorithm>

#include "error.h"

namespace latent_edge {

namespace {

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : " + \"") + name + "\"";
  return text;
}

}  // namespace

Checkpoint::Checkpoint(std::vector<WeightSource> sources, std::shared_ptr<Checkpoint> base, Prefixed under,
                       std::vector<WeightDelta> deltas, std::shared_ptr<Account> account, ThreadPool& pool)
    : account_(std::move(account)), pool_(pool), base_(std::move(base)), under_(std::move(under)) {
  std::map<std::string, std::shared_ptr<MappedFile>> files;
  for (WeightSource& source : sources) {
    source.map(files);
    const std::string name = source.name;
    if (!sources_.try_emplace(name, std::move(source)).second)
      throw BadWeights("weight \"" + name + "\" occurs twice");
  }
  for (WeightDelta& delta : deltas) {
    for (DeltaFactor& factor : delta.factors)
      for (WeightSource* tensor : factor.tensors()) tensor->map(files);
    const WeightSource* weight = find(delta.weight);
    if (!weight)
      throw BadWeights("adapter of weight \"" + delta.weight + "\": the checkpoint has none of that name");
    delta.check(weight->shape);
    if (delta.scale != 0) deltas_[delta.weight].push_back(std::move(delta));
  }

  size_t in_memory = 0;
  const auto count = [&](const WeightSource& source) { in_memory += source.data.size() * sizeof(float); };
  for (const auto& [name, source] : sources_) count(source);
  for (auto& [name, list] : deltas_)
    for (WeightDelta& delta : list)
      for (DeltaFactor& factor : delta.factors)
        for (const WeightSource* tensor : factor.tensors()) count(*tensor);
  in_memory_ = static_cast<int64_t>(in_memory);
  account_->weights += in_memory_;
}

const WeightSource* Checkpoint::find(const std::string& name) const {
  const auto it = sources_.find(name);
  if (it != sources_.end()) return &it->second;
  const auto [other, key] = elsewhere(name);
  return other ? other->find(key) : nullptr;
}

std::pair<Checkpoint*, std::string> Checkpoint::elsewhere(const std::string& name) const {
  for (const auto& [prefix, checkpoint] : under_)
    if (name.compare(0, prefix.size(), prefix) == 0) return {checkpoint.get(), name.substr(prefix.size())};
  return {base_.get(), name};
}

bool Checkpoint::differs(const std::string& name) const {
  return sources_.count(name) > 0 || deltas_.count(name) > 0;
}

void Checkpoint::check(const WeightRef& ref) const {
  const std::string expected = "expected weight " + quoted(ref.names) + " of shape " + to_string(ref.shape);
  if (ref.names.empty())
    throw std::runtime_error("expected at least one name for a weight of shape " + to_string(ref.shape));
  const WeightSource* first = nullptr;
  Shape whole;
  for (const std::string& name : ref.names) {
    const WeightSource* source = find(name);
    if (!source)
      throw BadWeights(expected + ", the checkpoint has " +
                       (ref.names.size() == 1 ? "none of that name" : "no \"" + name + "\""));
    Shape shape = without_trailing_ones(source->shape);
    if (shape.empty()) shape = {1};
    if (!first) {
      first = source;
      whole = shape;
    } else {
      if (!std::equal(shape.begin() + 1, shape.end(), whole.begin() + 1, whole.end()))
        throw BadWeights(expected + ", the checkpoint has \"" + name + "\" of shape " +
                         to_string(source->shape) + " beside \"" + ref.names[0] + "\" of shape " +
                         to_string(first->shape));
      whole[0] += shape[0];
    }
  }
  if (whole != without_trailing_ones(ref.shape))
    throw BadWeights(expected + ", the checkpoint has " +
                     to_string(ref.names.size() == 1 ? first->shape : whole));
}

std::shared_ptr<const PackedWeight> Checkpoint::get(const WeightRef& ref, const std::string& form,
                                                    size_t floats,
                                                    const std::function<void(const float*, float*)>& fill) {
  return std::static_pointer_cast<const PackedWeight>(
      share(ref, form, [&](Checkpoint& holder, const WeightRef& there) {
        const float* raw = holder.joined(there);
        return pack(floats * sizeof(float), Element::f32, [&](float* packed) { fill(raw, packed); });
      }));
}

std::shared_ptr<const PackedWeight> Checkpoint::get_narrow(
    const WeightRef& ref, const std::string& form, size_t count,
    const std::function<void(Element, const void*, void*)>& fill, std::optional<Element> as) {
  return std::static_pointer_cast<const PackedWeight>(
      share(ref, form, [&](Checkpoint& holder, const WeightRef& there) {
        const RawWeight weight = holder.raw(there);
        const void* raw = holder.joined(weight, static_cast<size_t>(elements(there.shape)));
        const Element element = as.value_or(weight.element);
        return pack(count * element_bytes(element), element,
                    [&](float* packed) { fill(weight.element, raw, packed); });
      }));
}

bool Checkpoint::in_eight_bits(const WeightRef& ref) const {
  return std::all_of(ref.names.begin(), ref.names.end(), [this](const std::string& name) {
    const WeightSource* source = find(name);
    return source && source->eight_bits;
  });
}

std::shared_ptr<const PackedWeight> Checkpoint::pack(size_t bytes, Element element,
                                                     const std::function<void(float*)>& fill) {
  auto weight = std::make_unique<PackedWeight>();
  weight->data = static_cast<float*>(allocate_aligned(bytes, "a packed weight"));
  weight->bytes = bytes;
  weight->element = element;
  touch(reinterpret_cast<char*>(weight->data), bytes);
  fill(weight->data);
  account_->weights += static_cast<int64_t>(bytes);
  return {weight.release(), [account = account_](const PackedWeight* done) {
            account->weights -= static_cast<int64_t>(done->bytes);
            delete done;
          }};
}

std::shared_ptr<const void> Checkpoint::share(const WeightRef& ref, const std::string& form,
                                              const Make& make) {
  const auto changed = [this](const std::string& name) { return differs(name); };
  if (std::none_of(ref.names.begin(), ref.names.end(), changed) && !ref.names.empty()) {
    Checkpoint* const holder = elsewhere(ref.names[0]).first;
    WeightRef there{{}, ref.shape};
    for (const std::string& name : ref.names) {
      auto [other, key] = elsewhere(name);
      if (other == holder) there.names.push_back(std::move(key));
    }
    if (holder && there.names.size() == ref.names.size()) return holder->share(there, form, make);
  }
  check(ref);
  std::string key = form;
  for (const std::string& name : ref.names) key += '\n' + name;
  auto& cached = packed_[key];
  if (!cached) cached = make(*this, ref);
  return cached;
}

void Checkpoint::drop_staging() {
  staging_.reset();
  if (base_) base_->drop_staging();
  for (const auto& [prefix, checkpoint] : under_) checkpoint->drop_staging();
}

// Has the system hand out a large weight's pages on all threads: clearing them takes longer than filling
// them.
void Checkpoint::touch(char* data, size_t bytes) {
  constexpr size_t kPage = 4096, kChunk = size_t{1} << 22;
  if (bytes < kChunk) return;
  pool_.parallel_for(static_cast<int64_t>((bytes + kChunk - 1) / kChunk), [&](int64_t chunk, int) {
    const size_t begin = static_cast<size_t>(chunk) * kChunk, end = std::min(bytes, begin + kChunk);
    for (size_t i = begin; i < end; i += kPage) data[i] = 0;
  });
}

// Space for weights that are on their way, until it is asked for again.
char* Checkpoint::staging(size_t bytes) {
  if (!staging_.data() || staging_.bytes() < bytes) {
    staging_.reset();
    staging_ = Buffer(bytes, "converting a weight", &account_->weights);
  }
  return staging_.data();
}

const float* Checkpoint::joined(const WeightRef& ref) {
  float* const begin =
      reinterpret_cast<float*>(staging(static_cast<size_t>(elements(ref.shape)) * sizeof(float)));
  float* to = begin;
  for (const std::string& name : ref.names) {
    convert(name, to);
    to += elements(find(name)->shape);
  }
  return begin;
}

const void* Checkpoint::joined(const RawWeight& raw, size_t count) {
  if (raw.values) return raw.values;
  const size_t size = element_bytes(raw.element);
  char* const begin = staging(count * size);
  char* to = begin;
  for (const WeightSource* part : raw.parts) {
    const size_t n = static_cast<size_t>(elements(part->shape));
    part->copy(0, n, to, pool_);
    to += n * size;
  }
  return begin;
}

const WeightSource* Checkpoint::plain(const std::string& name) const {
  if (deltas_.contains(name)) return nullptr;
  const auto it = sources_.find(name);
  if (it != sources_.end()) return it->second.transposed ? nullptr : &it->second;
  const auto [other, key] = elsewhere(name);
  return other->plain(key);
}

RawWeight Checkpoint::raw(const WeightRef& ref) {
  RawWeight raw;
  for (const std::string& name : ref.names) {
    const WeightSource* source = plain(name);
    if (!source || (!raw.parts.empty() && source->element != raw.element))
      return {Element::f32, {}, joined(ref)};
    raw.element = source->element;
    raw.parts.push_back(source);
  }
  return raw;
}

void Checkpoint::convert(const std::string& name, float* to) {
  const auto it = sources_.find(name);
  if (it != sources_.end()) {
    it->second.convert(to, pool_, &account_->weights);
  } else {
    const auto [other, key] = elsewhere(name);
    other->convert(key, to);
  }
  const auto deltas = deltas_.find(name);
  if (deltas == deltas_.end()) return;
  for (const WeightDelta& delta : deltas->second) delta.add_to(to, pool_, &account_->weights);
}

}  // namespace latent_edge
