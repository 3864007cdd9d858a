# A trial instance without replica, in the cluster's network.

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

module "valkey" {
  source = "../.."

  project_id  = "my-project-id"
  region      = "europe-west1"
  network     = "projects/my-project-id/global/networks/cluster"
  subnetworks = ["projects/my-project-id/regions/europe-west1/subnetworks/cluster"]
  node_type   = "SHARED_CORE_NANO"
}

output "address" {
  description = "The primary's address within the network."
  value       = module.valkey.address
}
