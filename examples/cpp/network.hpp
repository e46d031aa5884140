/* A compiled network for C++20: it owns its memory, takes and gives spans, and throws where the library refuses. */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tvm_shufflenet.h"

namespace tsn {

class Error : public std::runtime_error {
 public:
  Error(const std::string &function, int status)
      : std::runtime_error(function + " returned " + std::to_string(status)), status(status) {}
  const int status; /* TSN_ERROR_... of tvm_shufflenet.h */
};

/* A thread's view of the network: threads may run at the same time, each with a Network of its own. */
class Network {
 public:
  Network() : input_size_(elements("\"inputs\":")), output_(elements("\"outputs\":")) {
    if (tsn_abi() < TSN_ABI) throw std::runtime_error("the library is older than its header");
    if (!tsn_supported()) throw std::runtime_error("this processor lacks instructions of the library");
    reserve(tsn_workspace_bytes());
  }

  static std::string_view describe() { return tsn_describe(); }
  std::size_t input_size() const { return input_size_; }

  /* The first output, until the next run, of an input as describe() says: preprocessed, dense. */
  std::span<const float> run(std::span<const float> input) {
    if (input.size() != input_size_)
      throw std::invalid_argument("expected " + std::to_string(input_size_) + " numbers");
    return checked("tsn_run", tsn_run(input.data(), output_.data(), workspace_.get()));
  }

  /* The first output of a picture as a camera gives it. */
  std::span<const float> run(const tsn_image &image) {
    const std::size_t bytes = tsn_image_workspace_bytes(&image);
    if (bytes == 0) throw Error("tsn_image_workspace_bytes", TSN_ERROR_IMAGE);
    reserve(bytes);
    return checked("tsn_run_image", tsn_run_image(&image, output_.data(), workspace_.get()));
  }

  /* Probabilities of the classes, of an output. */
  std::vector<float> softmax(std::span<const float> output) const {
    std::vector<float> shares(output.size());
    const int status = tsn_softmax(output.data(), shares.data());
    if (status != TSN_OK) throw Error("tsn_softmax", status);
    return shares;
  }

  /* The likeliest classes, the first one first. */
  std::vector<std::int32_t> top(std::span<const float> output, int count) const {
    std::vector<std::int32_t> classes(static_cast<std::size_t>(std::max(count, 0)));
    const int found = tsn_top_k(output.data(), count, classes.data());
    if (found < 0) throw Error("tsn_top_k", found);
    classes.resize(static_cast<std::size_t>(found));
    return classes;
  }

  static std::string label(int index) {
    const char *name = tsn_label(index);
    return name ? name : "class " + std::to_string(index);
  }

 private:
  struct Free {
    void operator()(std::byte *memory) const { std::free(memory); }
  };

  /* The number of elements of the first array in the manifest's list. */
  static std::size_t elements(std::string_view list) {
    const std::string_view manifest = describe(), key = "\"shape\":[";
    std::size_t at = manifest.find(key, manifest.find(list)) + key.size(), count = 1;
    for (const char *text = manifest.data() + at;; ++text) {
      char *end = nullptr;
      count *= std::strtoul(text, &end, 10);
      text = end;
      if (*text != ',') return count;
    }
  }

  void reserve(std::size_t bytes) {
    if (bytes <= bytes_) return;
    workspace_.reset(static_cast<std::byte *>(std::aligned_alloc(TSN_ALIGNMENT, bytes))); /* a multiple of it */
    if (!workspace_) throw std::bad_alloc();
    bytes_ = bytes;
  }

  std::span<const float> checked(const char *function, int status) const {
    if (status != TSN_OK) throw Error(function, status);
    return output_;
  }

  std::size_t input_size_, bytes_ = 0;
  std::vector<float> output_;
  std::unique_ptr<std::byte[], Free> workspace_;
};

}  // namespace tsn
