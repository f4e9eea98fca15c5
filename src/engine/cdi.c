#include "engine/cdi.h"

#include "base/fs.h"

#include <dirent.h>
#include <fcntl.h>

#define CDI_FILES_MAX 256
#define CDI_FILE_MAX  ((size_t)1 << 20) /* a machine of many GPUs has some hundred kilobytes */

static bool is_spec_name(struct span name)
{
    return span_ends(name, SPAN_LIT(".json")) || span_ends(name, SPAN_LIT(".yaml"));
}

static bool names_nvidia(int dir_fd, const char *name)
{
    AUTO_BUF text;
    struct err unread = ERR_INIT; /* a file that can't be read offers no device */
    buf_init(&text, CDI_FILE_MAX);
    return fs_read_file(dir_fd, name, CDI_FILE_MAX, &text, &unread) == 0 && text.n > 0 &&
           memmem(text.p, text.n, CDI_NVIDIA_KIND, sizeof CDI_NVIDIA_KIND - 1) != NULL;
}

bool cdi_folder_has_nvidia(const char *folder)
{
    DIR *dir = opendir(folder);
    bool found = false;
    const struct dirent *e;
    if (!dir)
        return false;
    for (unsigned seen = 0; !found && seen < CDI_FILES_MAX && (e = readdir(dir)); seen++)
        found = is_spec_name(span_of(e->d_name)) && names_nvidia(dirfd(dir), e->d_name);
    closedir(dir);
    return found;
}

bool cdi_has_nvidia(void)
{
    return cdi_folder_has_nvidia("/etc/cdi") || cdi_folder_has_nvidia("/var/run/cdi");
}
