/* proxy: a unix socket that passes bytes on to another one, until it is told to vanish: then every connection is cut,
 * and new ones are refused, as when an engine dies. */
#ifndef BERTH_TESTS_PROXY_H
#define BERTH_TESTS_PROXY_H

struct proxy;

struct proxy *proxy_start(const char *listen_at, const char *forward_to);
void proxy_vanish(struct proxy *p); /* returns when it has */
void proxy_stop(struct proxy *p);

#endif
