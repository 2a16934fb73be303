/* The boundary between AltMount and an importer that it loads from a file, version 1.0.
 *
 * This header is the source of truth; the Rust crate altmount-abi restates it and a test compares the two.
 * What is said in JSON over this boundary is described with each function.
 *
 * Memory: whoever allocates frees, and nothing is handed over. Bytes from the host live until op_free (or until the call
 * returns, for arguments); bytes from the plugin are read before the call returns. JSON is UTF-8 without a final zero.
 * Versions: the header never changes. Fields are only appended, under a greater abi_minor; read a field only where
 * struct_size covers it. A greater abi_major is another, incompatible layout.
 * No function may unwind or longjmp into its caller.
 */
#ifndef ALTMOUNT_PLUGIN_H
#define ALTMOUNT_PLUGIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define ALTMOUNT_ABI_MAJOR 1u
#define ALTMOUNT_ABI_MINOR 0u
/* The plugin exports one altmount_plugin_v1 named importer_plugin__<name>, <name> being anything of [A-Za-z0-9_]. */
#define ALTMOUNT_SYMBOL_PREFIX "importer_plugin__"
#define ALTMOUNT_MAGIC { 'A', 'L', 'T', 'M', 'P', 'L', 'U', 'G' }

/* Statuses. Treat one that you do not know as ALTMOUNT_FAILED. */
#define ALTMOUNT_PENDING 0
#define ALTMOUNT_OK 1
#define ALTMOUNT_FAILED 2
#define ALTMOUNT_CANCELLED 3
#define ALTMOUNT_PANICKED 4

/* Levels of log. */
#define ALTMOUNT_ERROR 1u
#define ALTMOUNT_WARN 2u
#define ALTMOUNT_INFO 3u
#define ALTMOUNT_DEBUG 4u

/* What probe answers where it panicked; every other answer above 100 counts as 100. */
#define ALTMOUNT_PROBE_PANICKED 0xffffffffu

/* The queued file, for read and len. */
#define ALTMOUNT_UPLOAD 0u

typedef struct { const uint8_t *ptr; size_t len; } altmount_slice;

/* Frozen for ever: it is read out of the file before the file is loaded. */
typedef struct {
  uint8_t magic[8];
  uint32_t abi_major;
  uint32_t abi_minor;
  uint64_t struct_size; /* of the whole altmount_plugin_v1 that the plugin was built with */
} altmount_header;

struct altmount_waker_vtable;
/* Tells whoever polls that it is worth polling again. Borrowed for the call; clone it to keep it. Any thread. */
typedef struct {
  const void *data;
  const struct altmount_waker_vtable *vtable;
} altmount_waker;
typedef struct altmount_waker_vtable {
  altmount_waker (*clone)(const void *data);
  void (*wake_by_ref)(const void *data);
  void (*drop)(const void *data);
} altmount_waker_vtable;

/* The host. Valid for ever once it was given to create. `cx` is what import (or create) was given; it is valid until
 * task_drop (or create) returns. Every function may be called from any thread. An `op` is freed once, with op_free.
 * `error` may be NULL; where it is not, a call that does not answer ALTMOUNT_OK may put an op there whose result is
 * {"kind", "message", "retry", "context"}; free it. */
typedef struct {
  uint64_t struct_size;
  void (*log)(const void *cx, uint32_t level, altmount_slice message);
  void (*progress)(const void *cx, uint64_t done, uint64_t total);
  int32_t (*is_cancelled)(const void *cx);
  /* Stages one virtual file: {"path", "size", "content", "mtime", "attributes"}. */
  int32_t (*emit)(const void *cx, altmount_slice file_json, void **error);
  /* Stores the articles of one posted file; `number` is how a graph refers to them. */
  int32_t (*define_articles)(const void *cx, altmount_slice table_json, uint64_t *number, void **error);
  /* The length in bytes of what a handle stands for. */
  int32_t (*len)(const void *cx, uint64_t handle, uint64_t *len, void **error);
  /* op -> the handle as a JSON number. */
  void *(*open)(const void *cx, altmount_slice content_json);
  /* op -> up to `len` bytes; fewer only at the end. */
  void *(*read)(const void *cx, uint64_t handle, uint64_t offset, uint64_t len);
  /* op -> the method's JSON. */
  void *(*call)(const void *cx, altmount_slice method, altmount_slice params_json);
  /* A status; `out` is set for ALTMOUNT_OK (the result) and ALTMOUNT_FAILED (the error's JSON) and lives until op_free. */
  int32_t (*op_poll)(void *op, const altmount_waker *waker, altmount_slice *out);
  /* The same, and blocks until there is an answer. */
  int32_t (*op_wait)(void *op, altmount_slice *out);
  /* Frees the op and gives up what it was doing. */
  void (*op_free)(void *op);
  /* How an import or a create ends: the summary ({"notes", "meta"}) with ALTMOUNT_OK, the error otherwise. The last counts.
   * Nothing can be staged after it. */
  void (*complete)(const void *cx, int32_t status, altmount_slice json);
} altmount_host_v1;

/* A plugin. An instance is used by several threads at once; a task by one at a time, not always the same. The host gives
 * every import a thread of its own, so that a plugin may block. */
typedef struct {
  altmount_header header;
  /* Static JSON; an empty slice where it panicked. */
  altmount_slice (*manifest)(void);
  /* The instance; NULL where the configuration is refused, the reason given to complete. */
  void *(*create)(const altmount_host_v1 *host, const void *cx, altmount_slice config_json);
  void (*destroy)(void *instance);
  /* How sure it is that it takes the file, 0 to 100. Pure and quick. */
  uint32_t (*probe)(void *instance, altmount_slice file_name, altmount_slice head);
  /* The task; NULL where it could not be started, the reason given to complete. */
  void *(*import)(void *instance, const void *cx, altmount_slice request_json);
  int32_t (*task_poll)(void *task, const altmount_waker *waker);
  /* Frees the task and gives up what it was doing. */
  void (*task_drop)(void *task);
} altmount_plugin_v1;

#ifdef __cplusplus
}
#endif
#endif
