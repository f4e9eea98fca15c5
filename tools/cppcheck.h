/* What cppcheck has to know of jansson's macros; read by tools/lint. */
#define json_array_foreach(array, index, value)                                                                        \
    for (index = 0; index < json_array_size(array) && (value = json_array_get(array, index)); index++)
#define json_object_foreach(object, key, value)                                                                        \
    for (key = json_next(object, 0); key && (value = json_object_get(object, key)); key = json_next(object, key))
