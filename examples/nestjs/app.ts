/** A NestJS app: the client and a topic as providers, a controller that publishes, a listener that lives with its module. */
import 'reflect-metadata'
import {
  Body,
  Controller,
  Get,
  Inject,
  Injectable,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  Post,
} from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { type Client, createClient, type Topic } from '@tidings/sdk'

interface Signup {
  email: string
}

const CLIENT = Symbol('tidings')
const SIGNUPS = Symbol('signups')

@Injectable()
class Welcome implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly greeted: string[] = []
  readonly #client: Client
  readonly #signups: Topic<Signup>

  constructor(@Inject(CLIENT) client: Client, @Inject(SIGNUPS) signups: Topic<Signup>) {
    this.#client = client
    this.#signups = signups
  }

  onApplicationBootstrap(): void {
    this.#signups.subscribe('welcome', { start: 'earliest', concurrency: 4 }, ({ value }) => {
      this.greeted.push(value.email)
    })
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#client.close()
  }
}

@Controller('signups')
class SignupController {
  readonly #signups: Topic<Signup>
  readonly #welcome: Welcome

  constructor(@Inject(SIGNUPS) signups: Topic<Signup>, @Inject(Welcome) welcome: Welcome) {
    this.#signups = signups
    this.#welcome = welcome
  }

  @Post()
  async create(@Body() signup: Signup): Promise<{ id: string }> {
    const { id } = await this.#signups.publish(signup, { key: signup.email })
    return { id }
  }

  @Get('greeted')
  greeted(): string[] {
    return this.#welcome.greeted
  }
}

@Module({
  controllers: [SignupController],
  providers: [
    Welcome,
    {
      provide: CLIENT,
      useFactory: () => createClient({ url: process.env['TIDINGS_URL'] ?? 'http://127.0.0.1:7070' }),
    },
    { provide: SIGNUPS, inject: [CLIENT], useFactory: (client: Client) => client.topic<Signup>('signups') },
  ],
})
class AppModule {}

const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: ['error', 'warn'] })
app.enableShutdownHooks()
await app.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1')
