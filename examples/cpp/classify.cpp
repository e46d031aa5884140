/* Prints the five likeliest classes of a picture, a binary PPM file (P6):
 *
 *     python -m tvm_shufflenet.build shufflenet-v1-0.5x-g3 --target native --weights trained --name network --package
 *     cmake -S examples/cpp -B build/cpp -DCMAKE_PREFIX_PATH=$PWD/build && cmake --build build/cpp
 *     build/cpp/classify picture.ppm
 */
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "network.hpp"

struct Picture {
  int width = 0, height = 0;
  std::vector<unsigned char> pixels; /* RGB */
};

static Picture read(const char *path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  Picture picture;
  int largest = 0;
  file >> kind >> picture.width >> picture.height >> largest;
  file.get(); /* one space before the pixels */
  if (!file || kind != "P6" || largest != 255 || picture.width < 1 || picture.height < 1 || picture.width > 65535 ||
      picture.height > 65535)
    throw std::runtime_error(std::string(path) + ": expected a PPM file of 8 bits (P6)");
  const auto width = static_cast<std::size_t>(picture.width), height = static_cast<std::size_t>(picture.height);
  picture.pixels.resize(3 * width * height);
  if (!file.read(reinterpret_cast<char *>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size())))
    throw std::runtime_error(std::string(path) + ": the file ends early");
  return picture;
}

int main(int argc, char **argv) try {
  if (argc != 2) throw std::runtime_error("usage: classify PICTURE.ppm");
  const Picture picture = read(argv[1]);
  tsn_image image{};
  image.pixels = picture.pixels.data(), image.bytes = picture.pixels.size(), image.format = TSN_RGB;
  image.width = picture.width, image.height = picture.height;

  tsn::Network network;
  const std::vector<float> shares = network.softmax(network.run(image));
  for (const int index : network.top(shares, 5))
    std::printf("%.4f %s\n", shares[static_cast<std::size_t>(index)], tsn::Network::label(index).c_str());
  return 0;
} catch (const std::exception &error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
