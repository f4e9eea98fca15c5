/* image_ref: names of images, "[registry/]repository[:tag][@digest]", as the engines read them. Pure.
 *
 * The first component is a registry where it has a '.' or ':' or is "localhost"; otherwise the image is Docker Hub's,
 * where names of one component are below "library/" (distribution reference grammar). */
#ifndef BERTH_ENGINE_IMAGE_REF_H
#define BERTH_ENGINE_IMAGE_REF_H

#include "base/buf.h"
#include "base/err.h"

#define IMAGE_REF_MAX 512
#define DOCKER_HUB    "docker.io"

struct image_ref {
    char registry[256];   /* "docker.io", "127.0.0.1:5000" */
    char repository[256]; /* "library/busybox" */
    char tag[130];        /* "latest" where neither tag nor digest is given; empty with a digest alone */
    char digest[136];     /* "sha256:…", or empty */
    bool is_id;           /* the whole is an image id, which no registry knows: only `digest` is set */
};

/* ERR_INVALID names the reference and what is wrong with it. */
int image_ref_parse(struct image_ref *out, struct span text, struct err *err);

/* The full name: "docker.io/library/busybox:latest"; with a digest, without the tag; an id as it is. */
void image_ref_write(const struct image_ref *ref, struct buf *out);

#endif
