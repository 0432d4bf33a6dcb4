client() { su other -s /bin/sh -c 'id -un'; }
