"""Hot loops as machine code: compiled once on this machine with numba, mapped by every process.

numba writes fast kernels, but a process that imports it pays most of a second and some 100 MiB. So
only :mod:`.compile` does, in a process of its own, at ``nearvoice download-files``. It leaves an
*image* in the cache, a file of position-independent machine code (:mod:`.link`), which agents map
into memory, readable and executable (:mod:`.image`): no import, no compiling, and one copy for all
processes of the machine. Each kernel has its numpy twin outside this package, and is compared with
it before its image is put into the cache.
"""
