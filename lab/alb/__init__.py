"""The data plane of the lab's load balancers: HAProxy, behaving as an application load balancer of AWS does."""
