/* A configuration file of any bytes. Properties: it loads or is refused with an error that is one; what loads shows
 * every setting once, with a value for each whose words cannot fail any more; and showing changes nothing. */
#include "cli/config.h"

#include "base/fs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_loaded(const struct config *c)
{
    struct err err = ERR_INIT;
    AUTO_JSON shown = config_show(c, &err);
    AUTO_JSON again = config_show(c, &err);
    require(shown && again && json_equal(shown, again) && json_array_size(shown) == SETTING_COUNT);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        require(json_get_str(json_array_get(shown, i), "name") != NULL);
    require(config_list(c, SETTING_MIRRORS) != NULL && config_list(c, SETTING_XFER_ALLOW) != NULL);
    (void)config_number(c, SETTING_CACHE_MIN_FREE);
    (void)config_flag(c, SETTING_CACHE_DURABLE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = ERR_INIT;
    struct config *c = NULL;
    char path[64];
    AUTO_FD fd = memfd_create("config", MFD_CLOEXEC);
    require(fd >= 0 && fs_write_all(fd, data, size, &err) == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct config_opts opts = {.user_file = path, .system_file = "/dev/null"};
    int rc = config_load(&c, &opts, &err);
    require((rc == 0) == !err_is_set(&err));
    if (rc == 0)
        check_loaded(c);
    config_free(c);
    return 0;
}
