/* One importer, and with -D what is wrong with it. */
#include "altmount_plugin.h"
#include <stdlib.h>
#ifdef LATE
#include <pthread.h>
#include <unistd.h>
#endif
#ifndef MAJOR
#define MAJOR ALTMOUNT_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR ALTMOUNT_ABI_MINOR
#endif
#ifndef SIZE
#define SIZE sizeof(altmount_plugin_v1)
#endif
#ifndef MANIFEST
#define MANIFEST "{\"id\":\"variant\",\"name\":\"v\",\"version\":\"1\",\"file_types\":[{\"extensions\":[\"v\"]}]}"
#endif
#ifndef FIRST
#define FIRST 'A'
#endif

static altmount_slice text(const char *s, size_t n) { altmount_slice r = { (const uint8_t *)s, n }; return r; }
#define TEXT(s) text(s, sizeof(s) - 1)

static const altmount_host_v1 *host;
static altmount_slice manifest(void) { return TEXT(MANIFEST); }
static void *create(const altmount_host_v1 *h, const void *cx, altmount_slice c) {
  (void)c, (void)cx;
  host = h;
#ifdef REFUSES
  h->complete(cx, ALTMOUNT_FAILED, TEXT("{\"kind\":\"invalid\",\"message\":\"the key 'x' is wrong\",\"retry\":\"never\"}"));
  return NULL;
#endif
  return &host;
}
static void destroy(void *i) { (void)i; }
static uint32_t probe(void *i, altmount_slice n, altmount_slice h) { (void)i, (void)n, (void)h; return 12345; }
static void *import(void *i, const void *cx, altmount_slice r) { (void)i, (void)r; return (void *)(uintptr_t)cx; }
#ifdef LATE
/* A thread that outlives its import, and goes on to ask. */
static void *late(void *cx) {
  for (int i = 0; i < 2000; i++) {
    void *op = host->read(cx, 0, 0, 1);
    if (op) host->op_free(op);
    host->emit(cx, TEXT("{\"path\":\"late.txt\",\"size\":1,\"content\":[{\"type\":\"zero\",\"len\":1}]}"), NULL);
    host->log(cx, 1, TEXT("late"));
    host->complete(cx, ALTMOUNT_OK, TEXT("{}"));
    usleep(100);
  }
  return NULL;
}
#endif
static int32_t task_poll(void *cx, const altmount_waker *w) {
  (void)w;
#ifdef DOTDOT
  void *error = NULL;
  int32_t status = host->emit(cx, TEXT("{\"path\":\"../../etc/passwd\",\"size\":1,\"content\":[{\"type\":\"zero\",\"len\":1}]}"), &error);
  altmount_slice why = { NULL, 0 };
  if (error) { host->op_wait(error, &why); host->complete(cx, status, why); host->op_free(error); }
  return status;
#elif defined(NOT_UTF8)
  host->log(cx, 99, TEXT("\xff\xfe log"));
  return host->emit(cx, TEXT("{\"path\":\"\xff\",\"size\":0}"), NULL);
#elif defined(HUGE_JSON)
  size_t n = (size_t)65 << 20;
  char *s = calloc(n, 1);
  void *error = NULL;
  int32_t status = host->emit(cx, text(s, n), &error);
  free(s);
  altmount_slice why = { NULL, 0 };
  if (error) { host->op_wait(error, &why); host->complete(cx, status, why); host->op_free(error); }
  return status;
#elif defined(STALE)
  /* Numbers that were never given, or are freed. */
  altmount_slice out = { NULL, 0 };
  void *op = host->read(cx, 0, 0, 1);
  host->op_free(op);
  host->op_free(op);
  if (host->op_poll(op, NULL, &out) != ALTMOUNT_FAILED || host->op_wait((void *)(uintptr_t)0x1234567, &out) != ALTMOUNT_FAILED) abort();
  if (host->emit((void *)(uintptr_t)0x7654321, TEXT("{}"), NULL) != ALTMOUNT_CANCELLED) abort();
  host->log(NULL, 1, TEXT("nobody"));
  return ALTMOUNT_OK;
#elif defined(LATE)
  pthread_t thread;
  if (pthread_create(&thread, NULL, late, cx) == 0) pthread_detach(thread);
  return ALTMOUNT_OK;
#elif defined(AFTER)
  host->complete(cx, ALTMOUNT_OK, TEXT("{\"notes\":[\"over\"]}"));
  if (host->emit(cx, TEXT("{\"path\":\"a.txt\",\"size\":1,\"content\":[{\"type\":\"zero\",\"len\":1}]}"), NULL) != ALTMOUNT_CANCELLED) abort();
  uint64_t number;
  if (host->define_articles(cx, TEXT("{\"ids\":[],\"sizes\":[]}"), &number, NULL) != ALTMOUNT_CANCELLED) abort();
  return ALTMOUNT_OK;
#elif defined(NO_STATUS)
  return -77;
#elif defined(LEAKS)
  /* As many as it is given; the host takes them back. */
  while (host->read(cx, 0, 0, 1)) {}
  return ALTMOUNT_OK;
#else
  return ALTMOUNT_OK;
#endif
}
static void task_drop(void *cx) { (void)cx; }

#ifdef CONSTRUCTOR
__attribute__((constructor)) static void mark(void) { setenv("ALTMOUNT_TEST_CONSTRUCTOR", "ran", 1); }
#endif
#ifdef UNDEFINED
extern int nobody_defines_this(void);
int use(void);
__attribute__((visibility("default"))) int use(void) { return nobody_defines_this(); }
#endif

#define TABLE { { { FIRST, 'L', 'T', 'M', 'P', 'L', 'U', 'G' }, MAJOR, MINOR, SIZE }, manifest, create, destroy, probe, IMPORT, task_poll, task_drop }
#ifdef NULL_FUNCTION
#define IMPORT NULL
#else
#define IMPORT import
#endif
#ifndef NO_SYMBOL
__attribute__((visibility("default"))) const altmount_plugin_v1 importer_plugin__variant = TABLE;
#endif
#ifdef TWO_SYMBOLS
__attribute__((visibility("default"))) const altmount_plugin_v1 importer_plugin__second = TABLE;
#endif
