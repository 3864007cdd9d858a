variable "project_id" {
  description = "The project that holds the accounts and the database, by its id."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "database_name" {
  description = "The one database whose documents the services may use; take the firestore module's output, so that it exists first."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database_name))
    error_message = "database_name must be the database's id alone, such as contentfactory."
  }
}

variable "services" {
  description = "The services, by the names of their Kubernetes service accounts in k8s/base."
  type        = set(string)
  default     = ["cache", "optimizer", "processor", "tracker"]
  nullable    = false

  validation {
    condition     = length(var.services) > 0 && alltrue([for each in var.services : can(regex("^[a-z][a-z0-9-]{0,13}[a-z0-9]$", each))])
    error_message = "services must be one or more names of 2 to 15 lower-case letters, digits and hyphens."
  }
}

variable "namespace" {
  description = "The Kubernetes namespace the services run in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "namespace must be the name of a Kubernetes namespace, such as contentfactory."
  }
}

variable "account_prefix" {
  description = "What the accounts' ids begin with: PREFIX-SERVICE, unique within the project."
  type        = string
  default     = "contentfactory"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,12}[a-z0-9]$", var.account_prefix))
    error_message = "account_prefix must be 3 to 14 lower-case letters, digits and hyphens: with a service's name it must fit into 30."
  }
}

variable "bind_pods" {
  description = "True to let the pods be the accounts. False until a cluster with Workload Identity exists: before, there is no pool to bind."
  type        = bool
  default     = true
  nullable    = false
}

variable "workload_identity_pool" {
  description = "The cluster's identity pool when the cluster is in another project: PROJECT.svc.id.goog. Null for the same project."
  type        = string
  default     = null

  validation {
    condition     = var.workload_identity_pool == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]\\.svc\\.id\\.goog$", var.workload_identity_pool))
    error_message = "workload_identity_pool must be PROJECT.svc.id.goog, or null for this project's."
  }
}
