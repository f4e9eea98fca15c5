#include "stage/stage_priv.h"

int stage_source_new(struct source **out, struct stage *stage, size_t index, struct err *err)
{
    switch (stage->inputs[index].kind) {
    case SOURCE_S3:
        return source_s3_new(out, stage, index, err);
    case SOURCE_HF:
        return source_hf_new(out, stage, index, err);
    case SOURCE_OLLAMA:
        return source_ollama_new(out, stage, index, err);
    case SOURCE_URL:
    case SOURCE_PRESIGNED:
        return source_url_new(out, stage, index, err);
    case SOURCE_LOCAL:
        return source_local_new(out, stage, index, err);
    }
    return err_set(err, ERR_UNSUPPORTED, "an input of an unknown kind");
}

void stage_source_free(struct source *s)
{
    if (s)
        s->ops->free(s);
}
