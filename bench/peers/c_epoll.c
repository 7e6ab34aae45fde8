/* The contestant that shows what is possible: a plain epoll loop in C, with OpenSSL where TLS is
 * defined. cc -O2 -o c_epoll c_epoll.c, and cc -O2 -DTLS -o c_epoll_tls c_epoll.c -lssl -lcrypto */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

enum { BLOCK = 65536, EVENTS = 1024, WORKERS_MAX = 256 };
enum { BLOCKED = -1, FAILED = -2 }; /* what receive() and transmit() return besides a length */

struct conn {
  int fd;
  uint32_t interest; /* what epoll was told to look for */
  uint32_t wanted;   /* what a blocked call waits for */
  const char *out;   /* what is to be sent, of which this is left */
  size_t left;
  char *rest; /* where `out` points into, if it is this connection's own */
  uint64_t count;
#ifdef TLS
  SSL *ssl;
  bool is_open;
#endif
};

static enum { HTTP, ECHO, SINK, SOURCE } service = HTTP;
static char buffer[512 * 1024], block[BLOCK];
static char *response;
static size_t response_length;
static unsigned long work;
static volatile uint32_t state = 1;
static int epoll;
static struct conn listener; /* only its address counts */

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void compute(void) {
  uint32_t x = state;
  for (unsigned long i = 0; i < work; i++) x = x * 1664525u + 1013904223u;
  state = x;
}

#ifdef TLS
static SSL_CTX *context;

static ssize_t blocked_or_failed(struct conn *c, int result) {
  int error = SSL_get_error(c->ssl, result);
  if (error == SSL_ERROR_ZERO_RETURN) return 0;
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
    SSL_set_quiet_shutdown(c->ssl, 1); /* nothing may be said after an error */
    return FAILED;
  }
  c->wanted = error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
  return BLOCKED;
}

static ssize_t receive(struct conn *c) {
  ERR_clear_error(); /* SSL_get_error() looks at it, whoever left it there */
  int n = SSL_read(c->ssl, buffer, sizeof buffer);
  return n > 0 ? n : blocked_or_failed(c, n);
}

static ssize_t transmit(struct conn *c) {
  ERR_clear_error();
  int n = SSL_write(c->ssl, c->out, (int)c->left);
  return n > 0 ? n : blocked_or_failed(c, n);
}

/* Whether there is input that epoll does not know of. */
static bool has_pending(struct conn *c) { return SSL_has_pending(c->ssl); }
#else
static ssize_t blocked_or_failed(struct conn *c, uint32_t wanted) {
  if (errno != EAGAIN) return FAILED;
  c->wanted = wanted;
  return BLOCKED;
}

static ssize_t receive(struct conn *c) {
  ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
  return n >= 0 ? n : blocked_or_failed(c, EPOLLIN);
}

static ssize_t transmit(struct conn *c) {
  ssize_t n = send(c->fd, c->out, c->left, MSG_NOSIGNAL);
  return n >= 0 ? n : blocked_or_failed(c, EPOLLOUT);
}

static bool has_pending(struct conn *c) { return (void)c, false; }
#endif

static void watch(struct conn *c, uint32_t interest) {
  if (c->interest == interest) return;
  struct epoll_event event = {.events = interest, .data.ptr = c};
  epoll_ctl(epoll, c->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event);
  c->interest = interest;
}

static void close_conn(struct conn *c) {
#ifdef TLS
  ERR_clear_error();
  if (c->is_open) SSL_shutdown(c->ssl);
  SSL_free(c->ssl);
#endif
  close(c->fd);
  free(c->rest);
  free(c);
}

/* Sends what is to be sent: 0 when that is done, else BLOCKED or FAILED. */
static ssize_t flush(struct conn *c) {
  while (c->left > 0) {
    ssize_t n = transmit(c);
    if (n <= 0) return n == BLOCKED ? BLOCKED : FAILED;
    c->out += n, c->left -= n;
  }
  free(c->rest);
  c->rest = NULL;
  return 0;
}

static ssize_t answer(struct conn *c, const char *bytes, size_t length) {
  c->out = bytes, c->left = length;
  return flush(c);
}

static ssize_t received(struct conn *c, size_t n) {
  if (service == HTTP) {
    if (n < 4 || memcmp(buffer + n - 4, "\r\n\r\n", 4) != 0) return 0;
    compute();
    return answer(c, response, response_length);
  }
  if (service == ECHO) {
    ssize_t result = answer(c, buffer, n);
    if (result != BLOCKED) return result;
    c->rest = malloc(c->left); /* a slow reader: the buffer is needed for others */
    c->out = memcpy(c->rest, c->out, c->left);
    return BLOCKED;
  }
  c->count += n;
  return 0;
}

static void ended(struct conn *c) {
  if (service == SINK) { /* into an empty send buffer: it fits */
    char line[32];
    answer(c, line, sprintf(line, "%llu\n", (unsigned long long)c->count));
  }
  close_conn(c);
}

/* Sends a block. */
static ssize_t fill(struct conn *c) {
  if (c->left == 0) c->out = block, c->left = BLOCK;
  ssize_t result = flush(c);
  if (result != 0) return result;
  c->wanted = EPOLLOUT; /* there is room, and epoll will say so */
  return BLOCKED;
}

/* Goes on with a connection as far as that gets. */
static void go_on(struct conn *c, uint32_t events) {
#ifdef TLS
  if (!c->is_open) {
    ERR_clear_error();
    int result = SSL_accept(c->ssl);
    if (result <= 0) {
      if (blocked_or_failed(c, result) != BLOCKED) return close_conn(c);
      return watch(c, c->wanted);
    }
    c->is_open = true;
    events |= EPOLLIN | EPOLLOUT;
  }
#endif
  ssize_t result = 0;
  if (service == SOURCE) {
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
      if (fill(c) == FAILED) return close_conn(c);
    }
    if (events & EPOLLIN) {
      do result = receive(c);
      while (result > 0 && has_pending(c));
      if (result == 0 || result == FAILED) return close_conn(c);
    }
    return watch(c, EPOLLIN | EPOLLOUT);
  }
  if (c->left > 0) {
    result = flush(c);
    if (result == 0 && !has_pending(c)) return watch(c, EPOLLIN);
  }
  if (result == 0) {
    do {
      ssize_t n = receive(c);
      if (n == 0) return ended(c);
      result = n < 0 ? n : received(c, n);
    } while (result == 0 && has_pending(c));
  }
  if (result == FAILED) return close_conn(c);
  watch(c, result == BLOCKED ? c->wanted : EPOLLIN);
}

static void accept_all(int fd) {
  int own;
  while ((own = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct conn *c = calloc(1, sizeof *c);
    c->fd = own;
#ifdef TLS
    c->ssl = SSL_new(context);
    SSL_set_fd(c->ssl, own);
    watch(c, EPOLLIN);
#else
    watch(c, service == SOURCE ? EPOLLIN | EPOLLOUT : EPOLLIN);
#endif
  }
}

static void run(int fd) {
  static struct epoll_event events[EVENTS];
  epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll");
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == &listener) accept_all(fd);
      else go_on(events[i].data.ptr, events[i].events);
    }
  }
}

static int listen_on(struct sockaddr_in *address, bool is_shared) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  socklen_t length = sizeof *address;
  setsockopt(fd, SOL_SOCKET, is_shared ? SO_REUSEPORT : SO_REUSEADDR, &(int){1}, sizeof(int));
  if (bind(fd, (struct sockaddr *)address, length) < 0 || listen(fd, 4096) < 0) die("listen");
  getsockname(fd, (struct sockaddr *)address, &length);
  return fd;
}

#ifdef TLS
static void load_certificate(const char *cert, const char *key) {
  context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  if (service != HTTP) SSL_CTX_set_default_read_buffer_len(context, BLOCK);
  if (cert == NULL || key == NULL || SSL_CTX_use_certificate_chain_file(context, cert) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    fprintf(stderr, "give --cert FILE and --key FILE\n");
    exit(2);
  }
}
#endif

static void choose_service(const char *name) {
  const char *names[] = {"http", "echo", "sink", "source"};
  for (service = HTTP; service <= SOURCE; service++) {
    if (strcmp(name, names[service]) == 0) return;
  }
  fprintf(stderr, "there is no service \"%s\"\n", name);
  exit(2);
}

static void make_response(size_t size) {
  response = malloc(size + 128);
  int head = sprintf(response,
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", size);
  memset(response + head, 'x', size);
  response_length = head + size;
}

int main(int argc, char **argv) {
  static const struct option options[] = {
      {"service", 1, 0, 's'}, {"size", 1, 0, 'n'},    {"cert", 1, 0, 'c'}, {"key", 1, 0, 'k'},
      {"workers", 1, 0, 'w'}, {"work", 1, 0, 'l'}, {0, 0, 0, 0}};
  const char *cert = NULL, *key = NULL;
  size_t size = 64;
  int workers = 1;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
    if (option == 's') choose_service(optarg);
    else if (option == 'n') size = strtoul(optarg, NULL, 10);
    else if (option == 'c') cert = optarg;
    else if (option == 'k') key = optarg;
    else if (option == 'w') workers = atoi(optarg);
    else if (option == 'l') work = strtoul(optarg, NULL, 10);
    else return 2;
  }
  if (workers < 1 || workers > WORKERS_MAX) return fprintf(stderr, "--workers 1 to 256\n"), 2;
#ifdef TLS
  load_certificate(cert, key);
#else
  if (cert || key) return fprintf(stderr, "compiled without -DTLS\n"), 2;
#endif
  make_response(size);
  for (int i = 0; i < BLOCK; i++) block[i] = (char)i;
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  /* All listen before any runs. The system chooses the first one's port, the others take it. */
  struct sockaddr_in address = {.sin_family = AF_INET};
  int fds[WORKERS_MAX];
  for (int i = 0; i < workers; i++) fds[i] = listen_on(&address, workers > 1);
  int own = 0;
  pid_t parent = getpid();
  for (int i = 1; i < workers && own == 0; i++) {
    if (fork() != 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return 1;
    own = i;
  }
  for (int i = 0; i < workers; i++) {
    if (i != own) close(fds[i]);
  }
  if (own == 0) printf("listening %d\n", ntohs(address.sin_port)), fflush(stdout);
  run(fds[own]);
}
