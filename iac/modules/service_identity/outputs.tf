output "emails" {
  description = "Each service's account, by service; the value of its Kubernetes service account's annotation iam.gke.io/gcp-service-account."
  value       = { for name, account in google_service_account.this : name => account.email }
}

output "members" {
  description = "Each service's account as IAM policies write it (serviceAccount:EMAIL), by service, for further roles."
  value       = { for name, account in google_service_account.this : name => account.member }
}
