// pictures.cc: image files of any size and kind, by libvips.
//
// libvips and the many libraries that it needs are loaded when the first picture
// asks for them: a core works without, and starts without waiting for them. Its
// functions are therefore declared here, as its headers do (8.14, 8.16); they and
// the numbers are those of libvips.so.42.
#include <dlfcn.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "core.h"

namespace nln {
namespace {

struct VipsImage; // a GObject

enum { kSizeForce = 3, kFailOnError = 2, kBlackAndWhite = 1, kSRGB = 22, kGrey16 = 26, kLogWarning = 1 << 4 };

struct Vips {
  int (*init)(const char *program);
  void (*concurrency_set)(int threads);
  void (*cache_set_max)(int operations);
  const char *(*version_string)(void);
  char *(*error_buffer_copy)(void);
  VipsImage *(*image_new_from_buffer)(const void *data, size_t bytes, const char *options, ...);
  int (*image_get_width)(const VipsImage *);
  int (*image_get_height)(const VipsImage *);
  int (*image_get_bands)(const VipsImage *);
  int (*image_guess_interpretation)(const VipsImage *);
  int (*image_hasalpha)(VipsImage *);
  int (*image_get_orientation)(VipsImage *);
  int (*thumbnail_buffer)(void *data, size_t bytes, VipsImage **out, int width, ...);
  int (*flatten)(VipsImage *in, VipsImage **out, ...);
  int (*colourspace)(VipsImage *in, VipsImage **out, int space, ...);
  void *(*image_write_to_memory)(VipsImage *in, size_t *bytes);
  void (*object_unref)(void *);
  void (*free)(void *);
  unsigned (*log_set_handler)(const char *domain, int levels, void (*handler)(const char *, int, const char *, void *), void *data);
};

// load_vips loads libvips. It stays loaded: it keeps threads and types.
Vips load_vips() {
  void *lib = dlopen("libvips.so.42", RTLD_NOW | RTLD_LOCAL);
  if (!lib) throw Error(NLN_UNSUPPORTED, dlerror());
  Vips v;
  const auto find = [&](auto &function, const char *name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(lib, name));
    if (!function) throw Error(NLN_UNSUPPORTED, std::string("libvips.so.42 has no ") + name);
  };
  find(v.init, "vips_init");
  find(v.concurrency_set, "vips_concurrency_set");
  find(v.cache_set_max, "vips_cache_set_max");
  find(v.version_string, "vips_version_string");
  find(v.error_buffer_copy, "vips_error_buffer_copy");
  find(v.image_new_from_buffer, "vips_image_new_from_buffer");
  find(v.image_get_width, "vips_image_get_width");
  find(v.image_get_height, "vips_image_get_height");
  find(v.image_get_bands, "vips_image_get_bands");
  find(v.image_guess_interpretation, "vips_image_guess_interpretation");
  find(v.image_hasalpha, "vips_image_hasalpha");
  find(v.image_get_orientation, "vips_image_get_orientation");
  find(v.thumbnail_buffer, "vips_thumbnail_buffer");
  find(v.flatten, "vips_flatten");
  find(v.colourspace, "vips_colourspace");
  find(v.image_write_to_memory, "vips_image_write_to_memory");
  find(v.object_unref, "g_object_unref");
  find(v.free, "g_free");
  find(v.log_set_handler, "g_log_set_handler");
  if (v.init("nlnctl")) throw Error(NLN_UNSUPPORTED, "libvips cannot be started");
  // Pictures are decoded side by side; no two are alike.
  v.concurrency_set(1);
  v.cache_set_max(0);
  // What it warns of on standard error is no error, or is reported as one.
  v.log_set_handler("VIPS", kLogWarning, [](const char *, int, const char *, void *) {}, nullptr);
  return v;
}

// vips returns libvips; a failure to load it is not remembered.
const Vips &vips() {
  static const Vips v = load_vips();
  return v;
}

// failed throws what libvips says of the last failure, which is kept for all
// threads together: with several at a time one may get the words of another.
[[noreturn]] void failed() {
  char *all = vips().error_buffer_copy();
  std::string text(all);
  vips().free(all);
  text = text.substr(0, text.find('\n'));
  throw Error(NLN_IO, text.empty() ? "cannot be decoded" : text);
}

struct Unref {
  void operator()(VipsImage *image) const { vips().object_unref(image); }
};
using Image = std::unique_ptr<VipsImage, Unref>;

// step runs an operation of libvips that takes an image to another one.
template <class Operation>
void step(Image &image, Operation &&operation) {
  VipsImage *out = nullptr;
  if (operation(image.get(), &out)) failed();
  image.reset(out);
}

// cut_short says whether a JPEG ends before its picture does: no end of image
// follows the last scan. libjpeg makes up what is missing, and libvips tells that
// from harmless oddities no better than by a warning.
bool cut_short(const uint8_t *data, int64_t bytes) {
  if (bytes < 4 || data[0] != 0xff || data[1] != 0xd8) return false;
  bool ended = false;
  for (int64_t i = bytes - 2; i >= 2; i--) {
    if (data[i] != 0xff) continue;
    if (data[i + 1] == 0xd9) ended = true;
    if (data[i + 1] == 0xda) break;
  }
  return !ended;
}

bool is_grey(VipsImage *image) {
  const int space = vips().image_guess_interpretation(image);
  return space == kBlackAndWhite || space == kGrey16 || vips().image_get_bands(image) < 3;
}

} // namespace
} // namespace nln

using namespace nln;

nln_status nln_picture_version(char **version) {
  return guarded("picture", [&] { *version = owned(vips().version_string()); });
}

nln_status nln_picture_size(const void *data, int64_t bytes, int32_t *channels, int64_t *rows, int64_t *columns) {
  return guarded("picture", [&] {
    const Vips &v = vips();
    Image image(v.image_new_from_buffer(data, bytes, "", nullptr));
    if (!image) failed();
    *rows = v.image_get_height(image.get());
    *columns = v.image_get_width(image.get());
    if (v.image_get_orientation(image.get()) >= 5) std::swap(*rows, *columns); // turned by a quarter
    *channels = is_grey(image.get()) ? 1 : 3;
  });
}

nln_status nln_picture_decode(const void *data, int64_t bytes, int32_t channels, int64_t rows, int64_t columns, uint8_t *pixels) {
  return guarded("picture", [&] {
    if ((channels != 1 && channels != 3) || rows < 1 || columns < 1) invalid("no picture has this shape");
    const Vips &v = vips();
    if (cut_short(static_cast<const uint8_t *>(data), bytes)) throw Error(NLN_IO, "the file ends too early");
    VipsImage *first = nullptr;
    if (v.thumbnail_buffer(const_cast<void *>(data), bytes, &first, int(columns), "height", int(rows), "size", int(kSizeForce),
                           "fail_on", int(kFailOnError), nullptr))
      failed();
    Image image(first);
    if (v.image_hasalpha(image.get()))
      step(image, [&](VipsImage *in, VipsImage **out) { return v.flatten(in, out, nullptr); });
    const bool grey = is_grey(image.get());
    step(image, [&](VipsImage *in, VipsImage **out) { return v.colourspace(in, out, grey ? kBlackAndWhite : kSRGB, nullptr); });
    const int64_t bands = v.image_get_bands(image.get()), n = rows * columns;
    size_t size = 0;
    std::unique_ptr<uint8_t, void (*)(void *)> packed(static_cast<uint8_t *>(v.image_write_to_memory(image.get(), &size)), v.free);
    if (!packed) failed();
    if (int64_t(size) != n * bands || bands < (grey ? 1 : 3)) throw Error(NLN_IO, "libvips gives another size than was asked for");
    for (int64_t i = 0; i < n; i++) {
      const uint8_t *p = packed.get() + i * bands;
      if (channels == 1 && !grey && (p[0] != p[1] || p[1] != p[2])) invalid("has colours, where only grey is taken");
      for (int64_t c = 0; c < channels; c++) pixels[c * n + i] = p[grey ? 0 : c];
    }
  });
}
