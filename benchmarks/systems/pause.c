/* The least that a session can run: it does nothing until a signal ends it.
 *
 * It is linked statically. So its start takes little, and a system that ends it at once is spared
 * little that others pay for.
 */
#include <unistd.h>

int main(void)
{
    for (;;)
        pause();
}
