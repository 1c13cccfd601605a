//! What the server says about pods, as kube-apiserver 1.36 was seen to say it.
