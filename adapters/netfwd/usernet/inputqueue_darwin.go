package usernet

// inputQueue asks how many bytes wait in a socket: FIONREAD of <sys/filio.h>.
const inputQueue = 0x4004667f
