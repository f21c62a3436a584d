/* GCC's unwinder, compiled for glibc, asks _dl_find_object for the unwind tables of an address. musl has
   no such function; its dl_iterate_phdr knows the same. */
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

struct dl_find_object {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map *link_map;
    void *eh_frame;
    unsigned long long reserved[7];
};

struct search {
    uintptr_t address;
    struct dl_find_object *found;
};

static int visit(struct dl_phdr_info *object, size_t size, void *data) {
    struct search *search = data;
    struct dl_find_object *found = search->found;
    int is_inside = 0;
    (void)size;
    found->eh_frame = NULL;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && search->address - start < part->p_memsz) {
            found->map_start = (void *)start;
            found->map_end = (void *)(start + part->p_memsz);
            is_inside = 1;
        } else if (part->p_type == PT_GNU_EH_FRAME) {
            found->eh_frame = (void *)start;
        }
    }
    return is_inside && found->eh_frame != NULL;
}

int _dl_find_object(void *address, struct dl_find_object *found) {
    struct search search = {(uintptr_t)address, found};
    found->flags = 0;
    found->link_map = NULL;
    return dl_iterate_phdr(visit, &search) ? 0 : -1;
}
