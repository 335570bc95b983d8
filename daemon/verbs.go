// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/assayd/assay/spiffe"
	assayv1 "github.com/assayd/assay/verdict/assay/v1"
)

// everyone are all the roles.
var everyone = spiffe.AllRoles()

// verbs says who may call what. What is not in it may be called by nobody, and
// a test holds it complete. No role loosens anything: PutHead is for everyone,
// since what it brings counts as far as owners signed it, and the more ways a
// tightening has, the better.
var verbs = spiffe.Verbs{
	assayv1.AssayService_Verify_FullMethodName:      {spiffe.RoleNode, spiffe.RoleAdmission, spiffe.RoleCI},
	assayv1.AssayService_VerifyBatch_FullMethodName: {spiffe.RoleNode, spiffe.RoleAdmission, spiffe.RoleCI},
	assayv1.AssayService_Explain_FullMethodName:     {spiffe.RoleAdmission, spiffe.RoleCI, spiffe.RoleAdmin},

	assayv1.AssayService_GetStatement_FullMethodName:       everyone,
	assayv1.AssayService_ActivateCredential_FullMethodName: everyone,
	assayv1.AssayService_GetHead_FullMethodName:            everyone,
	assayv1.AssayService_PutHead_FullMethodName:            everyone,

	assayv1.AssayService_WatchStatus_FullMethodName:     {spiffe.RoleNode, spiffe.RoleAdmission},
	assayv1.AssayService_ReportException_FullMethodName: {spiffe.RoleNode},

	assayv1.AssayService_GetCheckpoint_FullMethodName: everyone,
	assayv1.AssayService_GetProof_FullMethodName:      everyone,

	grpc_health_v1.Health_Check_FullMethodName: everyone,
	grpc_health_v1.Health_List_FullMethodName:  everyone,
	grpc_health_v1.Health_Watch_FullMethodName: everyone,
}
