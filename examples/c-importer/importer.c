/* An importer in C: every line "name text" of a .clist file becomes a file of that name with that text.
 *
 * It has no state machine: the host gives every import a thread of its own, so import may block in op_wait. */
#include "altmount_plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char MANIFEST[] =
    "{\"id\":\"c-list\",\"name\":\"Lists, in C\",\"version\":\"1.0.0\","
    "\"file_types\":[{\"extensions\":[\"clist\"]}],\"licence\":\"MIT OR Apache-2.0\","
    "\"config_schema\":{\"type\":\"object\",\"additionalProperties\":false}}";

struct instance { const altmount_host_v1 *host; };
struct task { struct instance *instance; const void *cx; };

static altmount_slice text(const char *s) {
  altmount_slice slice = { (const uint8_t *)s, strlen(s) };
  return slice;
}

static altmount_slice manifest(void) { return text(MANIFEST); }

static void *create(const altmount_host_v1 *host, const void *cx, altmount_slice config) {
  (void)config;
  struct instance *made = malloc(sizeof *made);
  if (!made) {
    host->complete(cx, ALTMOUNT_FAILED, text("{\"kind\":\"io\",\"message\":\"no memory\",\"retry\":\"later\"}"));
    return NULL;
  }
  made->host = host;
  return made;
}

static void destroy(void *instance) { free(instance); }

static uint32_t probe(void *instance, altmount_slice name, altmount_slice head) {
  (void)instance, (void)name;
  return head.len && !memchr(head.ptr, 0, head.len) ? 70 : 0;
}

static void *import(void *instance, const void *cx, altmount_slice request) {
  (void)request;
  struct task *task = malloc(sizeof *task);
  if (task) {
    task->instance = instance;
    task->cx = cx;
  }
  return task;
}

static int32_t fail(const struct task *t, const char *message) {
  char json[256];
  snprintf(json, sizeof json, "{\"kind\":\"invalid\",\"message\":\"%s\",\"retry\":\"never\"}", message);
  t->instance->host->complete(t->cx, ALTMOUNT_FAILED, text(json));
  return ALTMOUNT_FAILED;
}

/* Inline bytes are base64 (RFC 4648). */
static void base64(const uint8_t *in, size_t len, char *out) {
  static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < len; i += 3) {
    uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < len ? in[i + 1] : 0u) << 8 | (i + 2 < len ? in[i + 2] : 0u);
    *out++ = DIGITS[v >> 18 & 63];
    *out++ = DIGITS[v >> 12 & 63];
    *out++ = i + 1 < len ? DIGITS[v >> 6 & 63] : '=';
    *out++ = i + 2 < len ? DIGITS[v & 63] : '=';
  }
  *out = 0;
}

static int plain(const uint8_t *s, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (s[i] < 0x20 || s[i] == '"' || s[i] == '\\' || s[i] > 0x7e) return 0;
  return len > 0 && len <= 100;
}

/* One line: 1 where it is staged, 0 where it is refused (the task has failed then). */
static int line(const struct task *t, const uint8_t *s, size_t len) {
  const altmount_host_v1 *host = t->instance->host;
  const uint8_t *space = memchr(s, ' ', len);
  size_t name = space ? (size_t)(space - s) : len;
  if (!plain(s, name) || len > 1000) return fail(t, "a line must be 'name text', of at most 1000 bytes"), 0;
  const uint8_t *rest = space ? space + 1 : s + len;
  size_t size = (size_t)(s + len - rest);
  char bytes[1400], json[2000];
  base64(rest, size, bytes);
  int n = snprintf(json, sizeof json,
                   "{\"path\":\"%.*s\",\"size\":%zu,\"content\":[{\"type\":\"inline\",\"bytes\":\"%s\"}]}",
                   (int)name, (const char *)s, size, bytes);
  altmount_slice file = { (const uint8_t *)json, (size_t)n };
  void *error = NULL;
  int32_t status = host->emit(t->cx, file, &error);
  if (status == ALTMOUNT_OK) return 1;
  if (error) {
    altmount_slice why = { NULL, 0 };
    host->op_wait(error, &why);
    host->complete(t->cx, ALTMOUNT_FAILED, why);
    host->op_free(error);
  }
  return 0;
}

static int32_t task_poll(void *task, const altmount_waker *waker) {
  (void)waker;
  struct task *t = task;
  const altmount_host_v1 *host = t->instance->host;
  uint64_t len = 0;
  if (host->len(t->cx, ALTMOUNT_UPLOAD, &len, NULL) != ALTMOUNT_OK) return fail(t, "the file has no length");
  void *op = host->read(t->cx, ALTMOUNT_UPLOAD, 0, len);
  altmount_slice bytes = { NULL, 0 };
  int32_t status = op ? host->op_wait(op, &bytes) : ALTMOUNT_FAILED;
  if (status != ALTMOUNT_OK) {
    if (op) host->op_free(op);
    return status == ALTMOUNT_CANCELLED ? status : fail(t, "the file cannot be read");
  }
  for (size_t at = 0; at < bytes.len && status == ALTMOUNT_OK;) {
    if (host->is_cancelled(t->cx)) {
      status = ALTMOUNT_CANCELLED;
      break;
    }
    const uint8_t *end = memchr(bytes.ptr + at, '\n', bytes.len - at);
    size_t n = end ? (size_t)(end - bytes.ptr) - at : bytes.len - at;
    if (n && !line(t, bytes.ptr + at, n)) status = ALTMOUNT_FAILED;
    at += n + 1;
    host->progress(t->cx, at < bytes.len ? at : bytes.len, bytes.len);
  }
  host->op_free(op);
  if (status == ALTMOUNT_OK) host->complete(t->cx, ALTMOUNT_OK, text("{\"notes\":[\"imported by C\"]}"));
  return status;
}

static void task_drop(void *task) { free(task); }

__attribute__((visibility("default"))) const altmount_plugin_v1 importer_plugin__c_list = {
  { ALTMOUNT_MAGIC, ALTMOUNT_ABI_MAJOR, ALTMOUNT_ABI_MINOR, sizeof(altmount_plugin_v1) },
  manifest, create, destroy, probe, import, task_poll, task_drop,
};
