"""cosmos-jobs.yaml, JSON Schemas, and what a YAML text means before it means a job."""
