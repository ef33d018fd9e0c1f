"""The lab's RDS below the API: what takes time, and the PostgreSQL clusters that instances and snapshots really are."""
