output "store_url" {
  description = "What STORE_URL is set to in every service: firestore://PROJECT/DATABASE."
  value       = module.firestore.store_url
}

output "service_accounts" {
  description = "Each service's account, by service: the annotation iam.gke.io/gcp-service-account of its Kubernetes service account."
  value       = module.service_identity.emails
}

output "image_prefix" {
  description = "What an image's name begins with: LOCATION-docker.pkg.dev/PROJECT/REPOSITORY."
  value       = module.artifacts.image_prefix
}

output "backup_schedules" {
  description = "How long each kind of backup is kept, by recurrence; empty without backups."
  value       = module.firestore.backup_schedules
}

output "valkey_address" {
  description = "The Valkey primary's address within the network; null without Valkey."
  value       = one(module.valkey[*].address)
}
