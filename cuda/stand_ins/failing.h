// What the stand-ins of the vendors' libraries share.
#pragma once

#include <cstdlib>
#include <string>

// The function that is to fail, out of the environment: a test's way to an error.
inline bool fails(const char* function) {
  const char* named = std::getenv("LATENT_EDGE_FAILING");
  return named && std::string(named) == function;
}

#define EXPORT extern "C" __attribute__((visibility("default")))
