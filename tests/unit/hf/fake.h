/* fake: stands in for the network. A script of answers is played in order; every request is held against the one it
 * expects. What it defines comes before the libraries'. */
#ifndef BERTH_TEST_HF_FAKE_H
#define BERTH_TEST_HF_FAKE_H

#include "hf/hf.h"

struct fake_answer {
    const char *expect;  /* "GET http://host/path?query", whole; NULL ends a script */
    int status;          /* 0: the call fails with ERR_TRANSIENT */
    const char *headers; /* "name: value\n" lines; NULL */
    const char *body;    /* NULL */
    const char *landed;  /* where redirects led; NULL: nowhere */
};

void fake_play(const struct fake_answer *answers);
bool fake_played_out(void);
extern void (*fake_pause)(bool on);   /* called around what the fake itself does; NULL: nothing */
const char *fake_authorization(void); /* of the last request; NULL: none */

/* An answer as the engine would show it; release it. */
void fake_response(struct http_response *out, int status, const char *headers, const char *body);

#endif
