// Package ranks runs Python processes: a node, its local namespace and its pool of ranks.
package ranks
