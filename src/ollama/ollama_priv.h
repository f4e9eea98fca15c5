/* ollama, inside: the client's state. */
#ifndef BERTH_OLLAMA_OLLAMA_PRIV_H
#define BERTH_OLLAMA_OLLAMA_PRIV_H

#include "base/json.h"
#include "ollama/ollama.h"

#include <pthread.h>

struct ollama {
    /* Never change once it is open; the arena grows under token.mu. */
    struct http *http;
    const struct cancel *cancel;
    struct arena *arena;
    struct ollama_ref ref;
    const char *place;
    pthread_mutex_t renewing; /* held while a token is asked for; never together with token.mu, but around it */
    struct {                  /* never held over a request */
        pthread_mutex_t mu;
        char *header;          /* "Bearer …", secret; NULL: none yet */
        const char *challenge; /* as the registry put it last; NULL: never */
        unsigned number;       /* counts the tokens */
    } token;
};

/* A copy of the Authorization header's value, "" without one, and the token's number. Secret. */
char *ollama_authorization(struct ollama *o, unsigned *number, struct err *err);
int ollama_note_challenge(struct ollama *o, const struct http_response *resp, struct err *err);
/* Another token than `number`; blocks. */
int ollama_renew_token(struct ollama *o, unsigned number, struct err *err);

/* The error for a status; `what` is "manifest" or a blob. */
int ollama_refuse(const struct ollama *o, int status, const char *what, struct err *err);

#endif
