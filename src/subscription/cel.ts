/** The library of the filter language, as much of it as filters use, loaded for the first filter. */
import type * as Library from '@bufbuild/cel'
import { onDemand } from '../base/on-demand.ts'

export type { CelEnv, CelFunc, CelInput, CelMap, CelType } from '@bufbuild/cel'

type Cel = typeof Library
const cel = onDemand<Cel>('@bufbuild/cel')

export const celEnv: Cel['celEnv'] = (...args) => cel().celEnv(...args)
export const celError: Cel['celError'] = (...args) => cel().celError(...args)
export const celList: Cel['celList'] = (value) => cel().celList(value)
export const celMap: Cel['celMap'] = (value) => cel().celMap(value)
export const isCelList = ((value: unknown) => cel().isCelList(value)) as Cel['isCelList']
export const isCelMap = ((value: unknown) => cel().isCelMap(value)) as Cel['isCelMap']
export const parse: Cel['parse'] = (...args) => cel().parse(...args)
export const plan: Cel['plan'] = (...args) => cel().plan(...args)
