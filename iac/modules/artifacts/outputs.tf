output "repository_id" {
  description = "The repository's full resource name."
  value       = google_artifact_registry_repository.this.id
}

output "image_prefix" {
  description = "What an image's name begins with: LOCATION-docker.pkg.dev/PROJECT/REPOSITORY."
  value       = "${var.location}-docker.pkg.dev/${var.project_id}/${var.repository_id}"
}
