# The four services of the namespace `contentfactory`, in a cluster of the same project.

terraform {
  required_version = ">= 1.9.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50.0, < 8.0.0"
    }
  }
}

provider "google" {
  project = "my-project-id"
}

module "service_identity" {
  source = "../.."

  project_id    = "my-project-id"
  database_name = "contentfactory"
  namespace     = "contentfactory"
}

output "emails" {
  description = "Each service's account, for the annotation of its Kubernetes service account."
  value       = module.service_identity.emails
}
