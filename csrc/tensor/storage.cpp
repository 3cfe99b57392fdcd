#include "tensor/storage.h"

#include <algorithm>
#include <cctype>
#include <new>

#include "tensor/stream.h"

namespace taimatsu {

const Streams* streams = nullptr;

// ---- Devices ------------------------------------------------------------------------------------

namespace {

// The types in the order of DeviceType, and those that programs name though nothing drives them.
constexpr const char* kDeviceNames[] = {
    "cpu", "cuda", "meta", "ipu", "xpu",  "mkldnn", "opengl", "opencl", "ideep", "hip",
    "ve",  "fpga", "maia", "xla", "lazy", "vulkan", "mps",    "hpu",    "mtia",  "privateuseone"};
constexpr int kDeviceTypes = std::size(kDeviceNames);

const Backend kCpu = {
    "cpu",
    [](size_t bytes, Device) { return cpu_allocate(bytes); },
    [](void* p, size_t bytes, Device) { cpu_free(p, bytes); },
    cpu_discard,
    [](void* to, Device, const void* from, Device, size_t bytes, bool) {
      std::memcpy(to, from, bytes);
    },
    [](Device) {},
};

// Sizes and dtypes without memory.
const Backend kMeta = {
    "meta",
    [](size_t, Device) -> void* { return nullptr; },
    [](void*, size_t, Device) {},
    [](void*, size_t) {},
    [](void*, Device, const void*, Device, size_t, bool) {},
    [](Device) {},
};

const Backend* backends[kDeviceTypes] = {&kCpu, nullptr, &kMeta};
const Backend* (*finders[kDeviceTypes])() = {};

}  // namespace

std::string Device::str() const {
  std::string name = kDeviceNames[static_cast<int>(type)];
  return index < 0 ? name : concat(name, ":", static_cast<int>(index));
}

Device Device::concrete() const {
  if (type == DeviceType::CPU || type == DeviceType::Meta) return {type, -1};  // there is one
  if (index >= 0) return *this;
  return {type, static_cast<int8_t>(backend(type).current())};
}

Device Device::parse(const char* text) {
  if (!*text) fail(Error::Runtime, "Device string must not be empty");
  const char* colon = std::strchr(text, ':');
  std::string name(text, colon ? colon - text : std::strlen(text));
  auto found = std::find(std::begin(kDeviceNames), std::end(kDeviceNames), name);
  if (found == std::end(kDeviceNames)) {
    fail(Error::Runtime,
         "Expected one of cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip, ve, fpga, maia, "
         "xla, lazy, vulkan, mps, meta, hpu, mtia, privateuseone device type at start of device "
         "string: ",
         text);
  }
  Device d;
  d.type = static_cast<DeviceType>(found - std::begin(kDeviceNames));
  if (colon) {
    const char* digits = colon + 1;
    size_t n = std::strlen(digits);
    bool number = n >= 1 && n <= 3 && std::strspn(digits, "0123456789") == n;
    int index = number ? std::atoi(digits) : -1;
    if (index < 0 || index > 127 || (n > 1 && digits[0] == '0')) {
      fail(Error::Runtime, "Invalid device string: '", text, "'");
    }
    d.index = static_cast<int8_t>(index);
  }
  return d;
}

const Backend& backend(DeviceType t) {
  const Backend*& b = backends[static_cast<int>(t)];
  if (!b && finders[static_cast<int>(t)]) b = finders[static_cast<int>(t)]();
  if (!b) {
    std::string name = kDeviceNames[static_cast<int>(t)], upper = name;
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    const bool compiled_in = name == "cuda" || name == "xpu" || name == "mtia";
    fail(compiled_in ? Error::Assertion : Error::NotImplemented, "Torch not compiled with ", upper,
         " enabled: there is no driver for ", name, " in this build; use device='cpu'");
  }
  return *b;
}

void register_backend(DeviceType t, const Backend* (*find)()) {
  finders[static_cast<int>(t)] = find;
}

// ---- Storages -----------------------------------------------------------------------------------

namespace {

// A Storage is a block of the CPU allocator. Data of up to kRoom bytes on the CPU lies behind it in
// the same block: small tensors come and go with one allocation less.
constexpr size_t kHeader = (sizeof(Storage) + 63) / 64 * 64;
constexpr size_t kRoom = 64;

void* room(Storage& s) { return reinterpret_cast<char*>(&s) + kHeader; }

inline Ref<Storage> make_storage(Device d, bool has_room = false) {
  Storage* s = new (cpu_allocate(has_room ? kHeader + kRoom : kHeader)) Storage;
  s->device = d;
  s->has_room = has_room;
  return s;
}

// An array's memory may be that of a tensor, whose memory is an array's, and so on: not by
// recursion.
void drop_owner(PyObject* owner) {
  thread_local bool dropping = false;
  thread_local std::vector<PyObject*> doomed;
  doomed.push_back(owner);
  if (dropping) return;
  dropping = true;
  while (!doomed.empty()) {
    PyObject* next = doomed.back();
    doomed.pop_back();
    Py_DECREF(next);
  }
  dropping = false;
}

void free_data(Storage& s) {
  if (s.owner || s.deleter) {
    if (s.deleter) s.deleter(s);
    if (s.owner) drop_owner(s.owner);
  } else if (s.data && s.data != room(s)) {
    backend(s.device.type).free(s.data, std::max(s.nbytes, s.reserved), s.device);
  }
  s.reserved = 0;
}

void move(Storage& root, void* data, size_t nbytes) {
  root.data = data;
  root.nbytes = nbytes;
  for (Storage* a = root.aliases; a; a = a->next) {
    a->data = data;
    a->nbytes = nbytes;
  }
}

// The memory of `root` as a storage of its own, which `root` is to leave; with a reference to it.
Storage* memory_of(Storage& root) {
  Storage* former = make_storage(root.device).leak();
  former->data = root.data;
  former->nbytes = root.nbytes;
  former->reserved = std::exchange(root.reserved, 0);
  former->owner = std::exchange(root.owner, nullptr);
  former->deleter = std::exchange(root.deleter, nullptr);
  return former;
}

// What `root` has given up goes when nobody works on it any more.
void leave_memory(Storage& root) {
  if (!root.data || root.data == room(root)) return free_data(root);
  retire(memory_of(root));
}

std::vector<Storage*>& retired = *new std::vector<Storage*>;

void unlink(Storage* alias) {
  Storage** link = &alias->base->aliases;
  while (*link != alias) link = &(*link)->next;
  *link = alias->next;
}

}  // namespace

int calls_in_flight = 0;

void retire(Storage* s) {
  if (calls_in_flight) {
    retired.push_back(s);
  } else {
    release(s);
  }
}

void free_retired() {
  while (!retired.empty() && !calls_in_flight) {
    Storage* s = retired.back();
    retired.pop_back();
    release(s);  // of foreign memory: Python may run
  }
}

thread_local bool deferring = false;
thread_local const uint64_t* deferring_serial = nullptr;

Ref<Storage> new_storage(size_t nbytes, Device d) {
  if (nbytes == 0 || nbytes > kRoom || d.type != DeviceType::CPU) {
    Ref<Storage> s = make_storage(d);
    if (nbytes && deferring && d.type != DeviceType::Meta) {
      s->late = true;
      s->known_serial = *deferring_serial;
    } else if (nbytes) {
      s->data = backend(d.type).allocate(nbytes, d);
    }
    s->nbytes = nbytes;
    return s;
  }
  Ref<Storage> s = make_storage(d, true);
  if (deferring) s->known_serial = *deferring_serial;
  s->data = room(*s);
  s->nbytes = nbytes;
  return s;
}

void arrive(Storage& s) {
  Storage& root = s.base ? *s.base : s;
  if (root.pending) flush(*root.pending);
  if (root.failure) throw root.failure->error;
  if (!root.data && root.nbytes) {
    move(root, backend(root.device.type).allocate(root.nbytes, root.device), root.nbytes);
  }
  if (!root.pending) root.late = s.late = false;  // else this is one of those calls
}

void fail_storage(Storage& s, Failure* f) {
  s.late = true;
  for (Storage* a = s.aliases; a; a = a->next) a->late = true;
  if (!s.failure) s.failure = Ref<Failure>(f).leak();
}

bool hand_over(Storage& from, Storage& to) {
  const bool alone = from.refs == 1 && !from.base && !from.aliases && !from.owner && !from.deleter;
  if (!alone || from.late || from.nbytes != to.nbytes || from.device != to.device) return false;
  if (!to.late || to.data || to.base || to.aliases) return false;
  to.data = std::exchange(from.data, nullptr);
  to.reserved = std::exchange(from.reserved, 0);
  from.nbytes = 0;
  return true;
}

void give_up_memory(Storage& s) {
  if (s.owner || s.deleter || s.aliases || s.data == room(s)) return;
  free_data(s);
  s.data = nullptr;
}

Ref<Storage> alias_storage(Storage* s) {
  Storage* root = s->base ? s->base : s;
  if (root->late) arrive(*root);
  Ref<Storage> alias = make_storage(root->device);
  retain(root);
  alias->base = root;
  alias->next = std::exchange(root->aliases, alias.get());
  alias->data = root->data;
  alias->nbytes = root->nbytes;
  alias->resizable = root->resizable;
  alias->shared_memory = root->shared_memory;
  return alias;
}

Ref<Storage> foreign_storage(void* data, size_t nbytes, Device d, PyObject* owner,
                             void (*deleter)(Storage&)) {
  Ref<Storage> s = make_storage(d);
  s->data = data;
  s->nbytes = nbytes;
  s->resizable = false;
  Py_XINCREF(owner);
  s->owner = owner;
  s->deleter = deleter;
  return s;
}

void free_storage(Storage* s) {
  if (s->base) {
    unlink(s);
    release(s->base);
  } else {
    free_data(*s);
    if (s->former) release(s->former);
    if (s->failure) release(s->failure);
  }
  cpu_free(s, s->has_room ? kHeader + kRoom : kHeader);
}

void resize_storage(Storage& s, size_t nbytes) {
  Storage& root = s.base ? *s.base : s;
  if (root.late) arrive(root);
  if (!root.resizable) {
    fail(Error::Runtime, "Trying to resize storage that is not resizable; it has ", root.nbytes,
         " bytes, ", nbytes, " were asked for; clone() the tensor first");
  }
  if (nbytes == root.nbytes) return;
  const Backend& b = backend(root.device.type);
  const size_t held = std::max(root.nbytes, root.reserved);
  if (nbytes < held && root.device.type != DeviceType::Meta) {
    // Tensors may still reach into what goes away: their addresses stay, without memory behind.
    if (nbytes < root.nbytes)
      b.discard(static_cast<char*>(root.data) + nbytes, root.nbytes - nbytes);
    root.reserved = held;
    return move(root, root.data, nbytes);
  }
  void* data = nbytes ? b.allocate(nbytes, root.device) : nullptr;
  size_t kept = std::min(nbytes, root.nbytes);
  if (kept) b.copy(data, root.device, root.data, root.device, kept, false);
  leave_memory(root);
  move(root, data, nbytes);
}

void share_storage(Storage& s, void* data, PyObject* owner) {
  Storage& root = s.base ? *s.base : s;
  if (root.late) arrive(root);
  if (root.nbytes) std::memcpy(data, root.data, root.nbytes);
  if (root.lent && root.data != room(root)) {
    Storage* former = memory_of(root);
    former->former = std::exchange(root.former, former);
  } else {
    leave_memory(root);
  }
  Py_INCREF(owner);
  root.owner = owner;
  root.deleter = nullptr;
  root.resizable = false;
  root.shared_memory = true;
  for (Storage* a = root.aliases; a; a = a->next) {
    a->resizable = false;
    a->shared_memory = true;
  }
  move(root, root.nbytes ? data : nullptr, root.nbytes);
}

}  // namespace taimatsu
